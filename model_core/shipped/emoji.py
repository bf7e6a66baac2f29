"""Builds the emoji data set: openly licensed picture sets, drawn alike, with prompts from a fixed list.

Words: emojibase (labels and tags of CLDR).
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from PIL import Image, ImageChops, ImageOps, ImageStat

from model_core.errors import InvalidValue
from model_core.shipped.concepts import Concept, pair_prompts, prompts_of, read_concepts, with_own_tags
from model_core.shipped.packages import CACHE, fetch, read_json
from model_core.shipped.picture_sets import PictureSet, draw_set, licence_row, licence_table, sets_of
from model_core.shipped.scenes import COLORS, WHITE, on_background, side_by_side
from model_core.training.data import Item, write_index

WORDS_PACKAGE, WORDS_VERSION = "emojibase-data", "17.0.0"
PAIRED = 240  # so many concepts, the first of the list, are paired
SYMMETRIC = 0.02  # mean difference from its mirror image, as a share of the range, below which a drawing is symmetric
VALIDATION_EVERY = 12  # of this many concepts, or pairs, one goes to the validation split in one of its styles

Pictures = dict[tuple[str, str], Image.Image]  # (code point, style) -> RGBA


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """Counts of what was kept, by split, and of what was left out, by reason."""

    num_concepts: int
    num_items: int
    splits: dict[str, int]
    dropped: dict[str, int]


def build_emoji(
    out: Path,
    size: int = 128,
    cache: Path = CACHE,
    num_concepts: int | None = None,
    styles: Sequence[str] | None = None,
    backgrounds: int = 0,
    pairs: int = 0,
    mirrored: bool = False,
    tilted: bool = False,
    validation: bool = True,
) -> BuildReport:
    """Fetches the packages, draws every concept in every style and writes the data set.

    Writes `images/`, `words.txt` (every label and tag, for training tokenizers), `licences.md` and, last and in one
    step, `dataset.jsonl`. Items come concept by concept, in the order of the list. The concepts that are not taken are
    in the split "unseen", on white.

    Args:
      size: side of the square pictures, in pixels.
      cache: folder for the fetched packages.
      num_concepts: takes the first so many of the list; None takes all, and nothing is unseen.
      styles: takes these only; None takes all.
      backgrounds: how many of the ten colours each picture is laid on, besides white. Which ones differs from concept
        to concept, so that the others are combinations never seen.
      pairs: how many pairs of the first `PAIRED` concepts are drawn side by side in each style: on white and, where
        there are backgrounds, on one of the colours.
      mirrored: whether each picture is there a second time, left and right exchanged, where that makes a difference and
        turns no writing; either half of a pair is mirrored or not, by chance.
      tilted: whether each picture that is not there mirrored is there tilted; not in pairs.
      validation: whether, of several styles, one concept in twelve has one in the split "validation": a known thing in
        a known style, never seen together; and one pair in twelve.

    Raises:
      InvalidValue: a number is out of range, or there is no such style.
      PackageError: a package cannot be fetched or read.
    """
    every = read_concepts()
    num_concepts = len(every) if num_concepts is None else num_concepts
    _check("size", size, 1, 4096)
    _check("num_concepts", num_concepts, 1, len(every))
    _check("backgrounds", backgrounds, 0, len(COLORS))
    _check("pairs", pairs, 0, 100_000)
    sets = sets_of(styles)
    archives = {each: fetch(each.package, each.version, cache) for each in sets}
    words = fetch(WORDS_PACKAGE, WORDS_VERSION, cache)
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "words.txt").write_text("\n".join(read_words(words)) + "\n", encoding="utf-8")
    (out / "licences.md").write_text(_licences(archives, words), encoding="utf-8")
    dropped: Counter[str] = Counter()
    codes = {concept.hexcode for concept in every}

    def draw(dropped: Counter[str], *, tilted: bool) -> Pictures:
        return {
            (code, each.style): picture
            for each, archive in archives.items()
            for code, picture in draw_set(each, archive, codes, size, dropped, tilted=tilted)
        }

    pictures, leaning = draw(dropped, tilted=False), draw(Counter(), tilted=True) if tilted else {}
    concepts = with_own_tags(every[:num_concepts], read_tags(words))
    names = [each.style for each in sets]
    items = [
        *_single_items(concepts, pictures, leaning, names, backgrounds, mirrored, out),
        *_pair_items(concepts[:PAIRED], pictures, names, pairs, backgrounds > 0, mirrored, out),
        *_unseen_items(every[num_concepts:], pictures, names, out),
    ]
    if not validation:
        items = [replace(item, split="train") if item.split == "validation" else item for item in items]
    write_index(out, items)
    splits = Counter(item.split for item in items)
    return BuildReport(num_concepts=num_concepts, num_items=len(items), splits=dict(splits), dropped=dict(dropped))


def read_words(archive: Path) -> list[str]:
    """Every label and tag of the word package, lower-case, each once: text for training a tokenizer."""
    entries = read_json(archive, "en/data.json")
    texts = (_plain(text) for entry in entries for text in (entry["label"], *entry.get("tags", ())))
    return list(dict.fromkeys(texts))


def read_tags(archive: Path) -> dict[str, list[str]]:
    """The tags of the word package by code point, lower-case."""
    entries = read_json(archive, "en/data.json")
    return {
        entry["hexcode"].lower().removesuffix("-fe0f"): [_plain(tag) for tag in entry.get("tags", ())]
        for entry in entries
    }


def _single_items(
    concepts: Sequence[Concept],
    pictures: Pictures,
    leaning: Pictures,
    styles: list[str],
    backgrounds: int,
    mirrored: bool,
    out: Path,
) -> Iterator[Item]:
    """Every concept in every style, upright and perhaps mirrored or tilted, on white and on `backgrounds` colours."""
    colors = list(COLORS)
    for place, concept in enumerate(concepts, 1):
        block, is_chosen = place // VALIDATION_EVERY, place % VALIDATION_EVERY == 0 and len(styles) > 1
        held_out = styles[block % len(styles)] if is_chosen else None
        chosen = [colors[(place + 3 * i) % len(colors)] for i in range(backgrounds)]  # 3 and 10: no repeats
        for style in styles:
            picture = pictures.get((concept.hexcode, style))
            if picture is None:
                continue
            both = _both_ways(concept, picture) if mirrored else [picture]
            drawings: dict[str, Image.Image] = dict(zip(("", "mirrored"), both, strict=False))
            if len(drawings) == 1 and (concept.hexcode, style) in leaning:
                drawings["tilted"] = leaning[concept.hexcode, style]
            for (way, drawing), background in product(drawings.items(), ("", *chosen)):
                yield Item(
                    image=_save(drawing, out, concept.hexcode, style, background, way),
                    prompts=prompts_of(concept, style, background),
                    concept=concept.hexcode,
                    style=style,
                    split="validation" if style == held_out else "train",
                )


def _pair_items(
    concepts: Sequence[Concept],
    pictures: Pictures,
    styles: list[str],
    pairs: int,
    colored: bool,
    mirrored: bool,
    out: Path,
) -> Iterator[Item]:
    """`pairs` different pairs of concepts in every style; one in twelve is for validation."""
    colors = list(COLORS)
    for style in styles if pairs else ():
        drawn = [concept for concept in concepts if (concept.hexcode, style) in pictures]
        _check("pairs", pairs, 0, len(drawn) * (len(drawn) - 1))
        rng, seen = random.Random(style), set()
        while len(seen) < pairs:
            left, right = rng.sample(drawn, 2)
            code = f"{left.hexcode}+{right.hexcode}"
            if code in seen:
                continue
            seen.add(code)
            halves = [(half, pictures[half.hexcode, style]) for half in (left, right)]
            scene = side_by_side(*(rng.choice(_both_ways(*half)) if mirrored else half[1] for half in halves))
            for background in ("", colors[len(seen) % len(colors)]) if colored else ("",):
                yield Item(
                    image=_save(scene, out, code, style, background),
                    prompts=pair_prompts(left, right, style, background),
                    concept=code,
                    style=style,
                    split="validation" if len(seen) % VALIDATION_EVERY == 0 else "train",
                )


def _unseen_items(concepts: Sequence[Concept], pictures: Pictures, styles: list[str], out: Path) -> Iterator[Item]:
    for concept in concepts:
        for style in styles:
            if picture := pictures.get((concept.hexcode, style)):
                yield Item(
                    image=_save(picture, out, concept.hexcode, style),
                    prompts=prompts_of(concept, style),
                    concept=concept.hexcode,
                    style=style,
                    split="unseen",
                )


def _both_ways(concept: Concept, picture: Image.Image) -> list[Image.Image]:
    """The picture, and its mirror image if that is another one and the thing bears no signs."""
    mirrored = ImageOps.mirror(picture)
    alpha = ImageChops.lighter(picture.getchannel("A"), mirrored.getchannel("A"))
    differing = ImageStat.Stat(ImageChops.difference(picture, mirrored), alpha.point(bool)).mean
    is_symmetric = sum(differing) / len(differing) < SYMMETRIC * 255
    return [picture] if is_symmetric or concept.has_signs else [picture, mirrored]


def _save(picture: Image.Image, out: Path, code: str, style: str, background: str = "", way: str = "") -> str:
    name = f"images/{'-'.join(filter(None, (code, style, background, way)))}.png"
    on_background(picture, COLORS[background] if background else WHITE).save(out / name, optimize=True)
    return name


def _plain(text: str) -> str:
    return text.lower().replace("-", " ")


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidValue(f"{name} must be {low} to {high}; got {value}.", name)


def _licences(archives: dict[PictureSet, Path], words: Path) -> str:
    about = read_json(words, "package.json")
    rows = [licence_row(each, archive) for each, archive in archives.items()]
    rows.append((WORDS_PACKAGE, WORDS_VERSION, about["license"], about["author"], "emojibase (labels and tags)"))
    changes = "Changes: rasterised at one size, with one margin, on one colour; a model was trained on the result.\n"
    return f"# Licences of the training pictures and words\n\n{licence_table(rows)}\n{changes}"
