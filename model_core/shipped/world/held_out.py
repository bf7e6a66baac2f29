"""Which combinations training never sees: a rule, not a list, so that it holds for any number of scenes.

A combination is held out if a hash of its words says so; one in `EVERY` is. The words alone decide: no seed, no style.
"""

import zlib

from model_core.shipped.world.description import WHITE, Description

EVERY = 8
KINDS = ("color", "pair", "relation", "ground")
_SEEN_FROM_THE_OTHER = {"right of": "left of", "below": "above"}  # one arrangement, told from either thing


def held_out_kinds(description: Description) -> tuple[str, ...]:
    """The kinds of held-out combinations in a scene, in the order of `KINDS`; nothing for one that may be trained on.

    "color": (thing, colour). "pair": two things, whichever comes first. "relation": (thing, relation, thing); left and
    right, above and below are one relation told from either side, and that of "next to" has no sides. "ground":
    (thing, ground), for every ground but white.
    """
    found = {kind for kind, words in _combinations(description) if is_held_out(kind, *words)}
    return tuple(kind for kind in KINDS if kind in found)


def is_held_out(kind: str, *words: str) -> bool:
    """Whether one combination is held out; the words in the order of `held_out_kinds`, those of a pair sorted."""
    return zlib.crc32("|".join((kind, *words)).encode()) % EVERY == 0


def _combinations(description: Description) -> list[tuple[str, tuple[str, ...]]]:
    subjects = description.subjects
    found: list[tuple[str, tuple[str, ...]]] = [("color", (each.name, each.color)) for each in subjects if each.color]
    if description.ground != WHITE:
        found += [("ground", (each.name, description.ground)) for each in subjects]
    if len(subjects) == 2:
        first, second = (each.name for each in subjects)
        low, high = sorted((first, second))
        found.append(("pair", (low, high)))
        if description.relation in _SEEN_FROM_THE_OTHER:
            found.append(("relation", (second, _SEEN_FROM_THE_OTHER[description.relation], first)))
        elif description.relation == "next to":
            found.append(("relation", (low, "next to", high)))
        else:
            found.append(("relation", (first, description.relation, second)))
    return found
