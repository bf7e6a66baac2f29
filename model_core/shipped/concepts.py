"""The list of things to draw, and how people ask for them.

`concepts.txt` holds them, most iconic first.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model_core.errors import InvalidValue

CONCEPTS = Path(__file__).with_name("concepts.txt")
STYLE_WEIGHT = 0.5  # share of the prompts that name the style
NO_ARTICLE = frozenset(
    ("bacon", "bread", "broccoli", "cheese", "corn", "dice", "earth", "fire", "garlic", "honey", "poop", "popcorn")
) | {"ramen", "salt", "saturn", "spaghetti", "sushi", "tea"}

Prompts = tuple[tuple[str, float], ...]  # prompts with their weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """A thing to draw.

    Attributes:
      hexcode: its code point(s).
      synonyms: other words for it.
      has_signs: whether letters, digits or notes are on it, which a mirror image would show the wrong way round.
      tags: looser words.
    """

    hexcode: str
    name: str
    synonyms: tuple[str, ...]
    has_signs: bool = False
    tags: tuple[str, ...] = ()


def read_concepts(path: Path = CONCEPTS) -> list[Concept]:
    """Reads the list of concepts, most iconic first: hexcode, name, synonyms, perhaps "signs", separated by tabs.

    Raises:
      InvalidValue: a line has no hexcode or name, or two concepts share a hexcode, a name or a synonym.
    """
    concepts, owner = [], {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        hexcode, name, synonyms, signs = [*line.split("\t"), "", "", ""][:4]
        if not re.fullmatch(r"[0-9a-f]+(-[0-9a-f]+)*", hexcode) or not name:
            raise InvalidValue(f"{path.name}, line {number}: expected hexcode, name and synonyms, got {line!r}.")
        words = tuple(word.strip() for word in synonyms.split(",") if word.strip())
        for key in (hexcode, name, *words):
            if key in owner:
                raise InvalidValue(f"{path.name}, line {number}: {key!r} is already in line {owner[key]}.")
            owner[key] = number
        concepts.append(Concept(hexcode=hexcode, name=name, synonyms=words, has_signs=signs == "signs"))
    return concepts


def prompts_of(concept: Concept, style: str, background: str = "") -> Prompts:
    """The prompts for a concept drawn in one style, on white or on a named colour; their weights sum to 1.

    Half of the weight names the style. A colour is always named.
    """
    plain = _plain_prompts(concept)
    return _with_style(_with_background(plain, background), style)


def pair_prompts(left: Concept, right: Concept, style: str, background: str = "") -> Prompts:
    """The same for two concepts side by side."""
    one, other = with_article(left.name), with_article(right.name)
    plain = [(f"{one} and {other}", 0.5), (f"{one} next to {other}", 0.25), (f"{left.name} and {right.name}", 0.25)]
    return _with_style(_with_background(plain, background), style)


def _with_background(plain: list[tuple[str, float]], background: str) -> list[tuple[str, float]]:
    if not background:
        return plain
    return [(f"{prompt} on {with_article(background)} background", weight) for prompt, weight in plain]


def _with_style(plain: list[tuple[str, float]], style: str) -> Prompts:
    styled = [(f"{prompt}, {style} style", weight * STYLE_WEIGHT) for prompt, weight in plain]
    return tuple([(prompt, weight * (1 - STYLE_WEIGHT)) for prompt, weight in plain] + styled)


def _plain_prompts(concept: Concept) -> list[tuple[str, float]]:
    name = concept.name
    a_name = with_article(name)
    weights: defaultdict[str, float] = defaultdict(float, {name: 3.0})
    weights[a_name] += 3.0
    for prompt in (f"a picture of {a_name}", f"a drawing of {a_name}", f"{name} emoji"):
        weights[prompt] += 0.5
    for synonym in concept.synonyms:
        weights[synonym] += 2.5 / len(concept.synonyms)
    for tag in concept.tags:
        weights[tag] += 0.5 / len(concept.tags)
    return [(prompt, weight / sum(weights.values())) for prompt, weight in weights.items()]


def with_own_tags(concepts: Sequence[Concept], tags: dict[str, list[str]]) -> list[Concept]:
    """The concepts with those of their tags (by code point) that name no other of them."""
    claims = Counter(tag for concept in concepts for tag in set(tags.get(concept.hexcode, ())))
    taken = {word for concept in concepts for word in (concept.name, *concept.synonyms)}
    return [
        replace(
            concept, tags=tuple(tag for tag in tags.get(concept.hexcode, ()) if claims[tag] == 1 and tag not in taken)
        )
        for concept in concepts
    ]


def with_article(name: str) -> str:
    """The name as one says it of one such thing: "an avocado", "french fries"."""
    last = name.split(" with ")[0].split()[-1]
    is_plural = last.endswith("s") and not last.endswith(("ss", "us"))
    if is_plural or last in NO_ARTICLE:
        return name
    return f"an {name}" if re.match("[aeio]|u(?!ni|fo)|hour", name) else f"a {name}"
