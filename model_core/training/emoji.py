"""Builds the emoji data set: three openly licensed picture sets, rasterised alike, with prompts from a fixed list.

Knows the picture sets, how to draw them and how people name emoji; knows nothing of models.

Pictures: the Iconify collections of Fluent Emoji, Noto Emoji and Twemoji. Words: emojibase (labels and tags of CLDR).
"""

import hashlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from model_core.errors import InvalidValue
from model_core.training.data import Item, write_index
from model_core.training.packages import CACHE, PackageError, fetch, read_json

CONCEPTS = Path(__file__).with_name("concepts.txt")
MARGIN = 1 / 16  # of the picture's side, around the drawing area: 8 of 128 pixels, one cell of a stride-8 code grid
STYLE_WEIGHT = 0.5  # share of the prompts that name the style
VALIDATION_EVERY = 12  # of this many concepts one loses one of its styles to the validation split
SKIN_TONES = ("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff")
NO_ARTICLE = frozenset(
    ("bacon", "bread", "broccoli", "cheese", "corn", "dice", "earth", "fire", "garlic", "honey", "poop", "popcorn")
) | {"ramen", "salt", "saturn", "spaghetti", "sushi", "tea"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmojiSet:
    """A set of pictures: the word for its style, its package, and the empty edge its artists left (share of side)."""

    style: str
    package: str
    version: str
    border: float


EMOJI_SETS = (
    EmojiSet(style="flat", package="@iconify-json/fluent-emoji-flat", version="1.2.6", border=1 / 16),
    EmojiSet(style="noto", package="@iconify-json/noto", version="1.2.9", border=1 / 32),
    EmojiSet(style="twemoji", package="@iconify-json/twemoji", version="1.2.5", border=0.0),
)
WORDS_PACKAGE, WORDS_VERSION = "emojibase-data", "17.0.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """A thing to draw: its code point(s) in hex, what a person would type, and other words for it."""

    hexcode: str
    name: str
    synonyms: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """Counts of what was kept, and of what was left out by reason."""

    num_concepts: int
    num_items: int
    dropped: dict[str, int]


def build_emoji(
    out: Path,
    size: int = 128,
    cache: Path = CACHE,
    num_concepts: int | None = None,
    styles: Sequence[str] | None = None,
) -> BuildReport:
    """Fetches the packages, draws every concept in every style and writes the data set.

    Writes `images/`, `words.txt` (every label and tag, for training tokenizers), `licences.md` and, last and in one
    step, `dataset.jsonl`. Items come concept by concept, in the order of the list.

    Args:
      out: folder of the new data set.
      size: side of the square pictures, in pixels.
      cache: folder for the fetched packages.
      num_concepts: takes the first so many of the list; None takes all.
      styles: takes these only; None takes all. With one style nothing is kept back for validation.

    Raises:
      InvalidValue: `size` or `num_concepts` is out of range, or there is no such style.
      PackageError: a package cannot be fetched or read.
    """
    concepts = read_concepts()
    if size < 1:
        raise InvalidValue(f"size must be at least 1 pixel; got {size}.", "size")
    if num_concepts is not None and not 1 <= num_concepts <= len(concepts):
        raise InvalidValue(f"num_concepts must be 1 to {len(concepts)}; got {num_concepts}.", "num_concepts")
    concepts = concepts[:num_concepts]
    sets = _sets_of(styles)
    archives = {emoji_set: fetch(emoji_set.package, emoji_set.version, cache) for emoji_set in sets}
    words = fetch(WORDS_PACKAGE, WORDS_VERSION, cache)
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "words.txt").write_text("\n".join(read_words(words)) + "\n", encoding="utf-8")
    dropped: Counter[str] = Counter()
    drawn: dict[tuple[str, str], str] = {}  # (hexcode, style) -> picture
    licences = []
    for emoji_set, archive in archives.items():
        pictures = draw_set(emoji_set, archive, {concept.hexcode for concept in concepts}, size, dropped)
        for hexcode, png in pictures:
            name = f"images/{hexcode}-{emoji_set.style}.png"
            (out / name).write_bytes(png)
            drawn[hexcode, emoji_set.style] = name
        licences.append(_licence_row(emoji_set.package, emoji_set.version, read_json(archive, "info.json")))
    (out / "licences.md").write_text(_licence_table(licences, words), encoding="utf-8")
    items = list(_items(concepts, drawn, [emoji_set.style for emoji_set in sets]))
    write_index(out, items)
    return BuildReport(num_concepts=len(concepts), num_items=len(items), dropped=dict(dropped))


def read_concepts(path: Path = CONCEPTS) -> list[Concept]:
    """Reads the list of concepts, most iconic first: hexcode, name, synonyms, separated by tabs.

    Raises:
      InvalidValue: a line has no hexcode or name, or two concepts share a hexcode, a name or a synonym.
    """
    concepts, owner = [], {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        hexcode, name, synonyms = [*line.split("\t"), "", ""][:3]
        if not re.fullmatch(r"[0-9a-f]+(-[0-9a-f]+)*", hexcode) or not name:
            raise InvalidValue(f"{path.name}, line {number}: expected hexcode, name and synonyms, got {line!r}.")
        words = tuple(word.strip() for word in synonyms.split(",") if word.strip())
        for key in (hexcode, name, *words):
            if key in owner:
                raise InvalidValue(f"{path.name}, line {number}: {key!r} is already in line {owner[key]}.")
            owner[key] = number
        concepts.append(Concept(hexcode=hexcode, name=name, synonyms=words))
    return concepts


def read_words(archive: Path) -> list[str]:
    """Every label and tag of the word package, lower-case, each once: text for training a tokenizer."""
    texts = (
        text.lower()
        for entry in read_json(archive, "en/data.json")
        for text in (entry["label"], *entry.get("tags", ()))
    )
    return list(dict.fromkeys(text.replace("-", " ") for text in texts))


def draw_set(
    emoji_set: EmojiSet, archive: Path, wanted: set[str], size: int, dropped: Counter[str]
) -> Iterator[tuple[str, bytes]]:
    """Draws the wanted pictures of one set as (hexcode, PNG); counts in `dropped` all that is left out, by reason."""
    icons = read_json(archive, "icons.json")
    names = read_json(archive, "chars.json")
    for code in names.keys() - wanted:
        dropped[f"{emoji_set.style}: {_why_unwanted(code)}"] += 1
    seen = set()
    for code in sorted(wanted):
        icon = icons["icons"].get(names.get(code))
        if icon is None:
            dropped[f"{emoji_set.style}: concept not in the set"] += 1
            continue
        shape = icon.get("width", icons["width"]), icon.get("height", icons["height"])
        png = rasterise(icon["body"], shape, size, margin=MARGIN, border=emoji_set.border)
        digest = hashlib.sha256(png).digest()
        if digest in seen:
            dropped[f"{emoji_set.style}: same picture as another concept's"] += 1
            continue
        seen.add(digest)
        yield code, png


def rasterise(body: str, shape: tuple[float, float], size: int, *, margin: float, border: float) -> bytes:
    """Draws the inside of an SVG on white, centred, as an RGB PNG of `size` × `size`.

    Args:
      body: SVG elements, drawn from (0, 0) to `shape`.
      shape: width and height of the drawing, in its own units.
      margin: width of the white edge in the result, as a share of its side.
      border: width of the edge that the drawing already has, as a share of its longer side. It counts as margin.

    Raises:
      PackageError: the SVG cannot be drawn.
    """
    import resvg_py  # here, because it is wanted for building this data set only

    width, height = shape
    view = max(shape) * (1 - 2 * border) / (1 - 2 * margin)
    box = f"{(width - view) / 2} {(height - view) / 2} {view} {view}"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{body}</svg>'
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=svg, width=size, height=size, background="#ffffff", skip_system_fonts=True
        )
    except ValueError as error:
        raise PackageError(f"a picture cannot be drawn: {error}") from error
    flat = io.BytesIO()
    Image.open(io.BytesIO(bytes(png))).convert("RGB").save(flat, "PNG", optimize=True)
    return flat.getvalue()


def prompts_of(concept: Concept, style: str) -> tuple[tuple[str, float], ...]:
    """The prompts for a concept drawn in one style, with weights that sum to 1; half of the weight names the style."""
    plain = _plain_prompts(concept)
    styled = [(f"{prompt}, {style} style", weight * STYLE_WEIGHT) for prompt, weight in plain]
    return tuple([(prompt, weight * (1 - STYLE_WEIGHT)) for prompt, weight in plain] + styled)


def _plain_prompts(concept: Concept) -> list[tuple[str, float]]:
    name = concept.name
    a_name = _with_article(name)
    weights: defaultdict[str, float] = defaultdict(float, {name: 3.0})
    weights[a_name] += 3.0
    for prompt in (f"a picture of {a_name}", f"a drawing of {a_name}", f"{name} emoji"):
        weights[prompt] += 0.5
    for synonym in concept.synonyms:
        weights[synonym] += 2.5 / len(concept.synonyms)
    return [(prompt, weight / sum(weights.values())) for prompt, weight in weights.items()]


def _with_article(name: str) -> str:
    last = name.split(" with ")[0].split()[-1]
    is_plural = last.endswith("s") and not last.endswith(("ss", "us"))
    if is_plural or last in NO_ARTICLE:
        return name
    return f"an {name}" if re.match("[aeio]|u(?!ni|fo)|hour", name) else f"a {name}"


def _sets_of(styles: Sequence[str] | None) -> list[EmojiSet]:
    known = {emoji_set.style: emoji_set for emoji_set in EMOJI_SETS}
    wanted = list(known) if styles is None else list(dict.fromkeys(styles))
    unknown = [style for style in wanted if style not in known]
    if unknown or not wanted:
        raise InvalidValue(f"styles are {', '.join(known)}; got {', '.join(unknown) or 'none'}.", "styles")
    return [known[style] for style in wanted]


def _items(concepts: list[Concept], drawn: dict[tuple[str, str], str], styles: list[str]) -> Iterator[Item]:
    for place, concept in enumerate(concepts, 1):
        block, is_chosen = place // VALIDATION_EVERY, place % VALIDATION_EVERY == 0 and len(styles) > 1
        held_out = styles[block % len(styles)] if is_chosen else None
        for style in styles:
            if (concept.hexcode, style) not in drawn:
                continue
            yield Item(
                image=drawn[concept.hexcode, style],
                prompts=prompts_of(concept, style),
                concept=concept.hexcode,
                style=style,
                split="validation" if style == held_out else "train",
            )


def _why_unwanted(code: str) -> str:
    parts = code.split("-")
    if any(tone in parts for tone in SKIN_TONES):
        return "skin-tone variant"
    return "joined emoji, not in the list" if "200d" in parts else "not in the list"


def _licence_row(package: str, version: str, info: dict[str, Any]) -> tuple[str, str, str, str, str]:
    return package, version, info["license"]["spdx"], info["author"]["name"], info["name"]


def _licence_table(rows: list[tuple[str, str, str, str, str]], words: Path) -> str:
    about = read_json(words, "package.json")
    rows = [*rows, (WORDS_PACKAGE, WORDS_VERSION, about["license"], about["author"], "emojibase (labels and tags)")]
    lines = [
        f"| {package} | {version} | {licence} | {author} | {work} by {author}, licensed under {licence}. |"
        for package, version, licence, author, work in rows
    ]
    changes = "Changes: rasterised on white at one size, with one margin; a model was trained on the result.\n"
    head = "| package | version | licence | author | attribution |\n|---|---|---|---|---|\n"
    return "# Licences of the training pictures and words\n\n" + head + "\n".join(lines) + "\n\n" + changes
