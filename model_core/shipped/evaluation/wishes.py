"""Whether a picture has the background colour or the style that its prompt asks for, and shows the whole thing.

Knows what a data set's prompts can name, and which of it was learned together. Judges by the pixels, with no network: a
background by the picture's border, a style and a thing by the nearest real picture, its parts by how near that is.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from model_core.pipeline import Pipeline
from model_core.shipped.concepts import read_concepts, with_article
from model_core.shipped.evaluation.backgrounds import background_of, border_color, on_white
from model_core.shipped.evaluation.draws import draw_all, fingerprint
from model_core.shipped.evaluation.measures import interval
from model_core.shipped.evaluation.prompts import Question
from model_core.shipped.evaluation.variety import DRAWS, Images, variety
from model_core.shipped.scenes import COLORS
from model_core.training.data import Dataset, Item

SMALL = 32  # pixels a side at which pictures are compared
VARIED_EVERY = 5  # of so many prompts one is drawn more than once
MISSING = 0.1  # of what a real picture shows: with more of it another way, a picture is not whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A prompt that asks for a thing by one of its names, or for a background or a style as well.

    Attributes:
      kind: "name", "synonym", "background" or "style".
      value: the colour, the style, or nothing.
      is_seen: whether the data set's train split has the thing with it.
    """

    kind: str
    value: str
    prompt: str
    concept: str
    is_seen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WishScores:
    """How often a kind of wish came true.

    Attributes:
      thing: how often the picture shows what it should.
      whole: how often it shows all of it; None where no real picture has the prompts.
      num_different: of the first `DRAWS` draws of some of the prompts, so many are different pictures, on average.
    """

    kind: str
    is_seen: bool
    num_prompts: int
    right: float
    right_interval: tuple[float, float]
    thing: float
    whole: float | None
    num_different: float


def measure_wishes(
    pipeline: Pipeline,
    dataset: Dataset,
    questions: Sequence[Question],
    folder: Path,
    on_prompt: Callable[[], None] = lambda: None,
) -> list[WishScores]:
    """Draws one picture of every wish, and more of some; gives nothing where the data set knows none of the things."""
    wishes = list(wishes_of(dataset, questions))
    if not wishes:
        return []
    kept = folder / fingerprint(pipeline.bundle)

    def draw(wishes: Sequence[Wish], num_draws: int) -> list[Images]:
        draws = draw_all(pipeline, [wish.prompt for wish in wishes], num_draws, kept, on_prompt)
        return [pipeline.image_decoder.decode(codes) for codes in draws.codes]

    images = np.concatenate(draw(wishes, 1))
    real = _real_pictures(dataset, questions)
    came_true = [_judge(wish, image, real) for wish, image in zip(wishes, images, strict=True)]
    of_prompt = _pictures_by_prompt(dataset, {wish.prompt for wish in wishes})
    whole = [
        _is_whole(image, of_prompt[wish.prompt]) if wish.prompt in of_prompt else None
        for wish, image in zip(wishes, images, strict=True)
    ]
    scores = []
    for kind, is_new in sorted({(wish.kind, not wish.is_seen) for wish in wishes}):
        places = [place for place, wish in enumerate(wishes) if (wish.kind, wish.is_seen) == (kind, not is_new)]
        varied = variety(draw([wishes[place] for place in places[::VARIED_EVERY]], DRAWS))
        right, thing = np.array([came_true[place] for place in places], float).T
        known = [is_whole for place in places if (is_whole := whole[place]) is not None]
        scores.append(
            WishScores(
                kind=kind,
                is_seen=not is_new,
                num_prompts=len(places),
                right=float(right.mean()),
                right_interval=interval(right),
                thing=float(thing.mean()),
                whole=float(np.mean(known)) if known else None,
                num_different=varied.num_different,
            )
        )
    return scores


def wishes_of(dataset: Dataset, questions: Sequence[Question]) -> Iterator[Wish]:
    """Of each thing: its name, a synonym, one colour that it was seen on and one that it was not, and every style."""
    train = dataset.split("train")
    synonyms = {concept.hexcode: concept.synonyms for concept in read_concepts()}
    seen = {prompt for item in train for prompt, _ in item.prompts}
    styles = sorted({item.style for item in train if item.style})
    for place, question in enumerate(questions):
        name, concept = question.prompt, question.concept
        if name not in seen:
            continue
        yield Wish(kind="name", value="", prompt=name, concept=concept, is_seen=True)
        for synonym in synonyms.get(concept, ())[:1]:
            yield Wish(kind="synonym", value="", prompt=synonym, concept=concept, is_seen=synonym in seen)
        on = {color: f"{name} on {with_article(color)} background" for color in COLORS}
        known = [color for color in COLORS if on[color] in seen]
        new = [color for color in COLORS if on[color] not in seen]
        for colors in filter(None, (known, new)) if known else ():
            color = colors[place % len(colors)]
            yield Wish(kind="background", value=color, prompt=on[color], concept=concept, is_seen=color in known)
        for style in styles if len(styles) > 1 else ():
            prompt = f"{name}, {style} style"
            yield Wish(kind="style", value=style, prompt=prompt, concept=concept, is_seen=prompt in seen)


def _real_pictures(
    dataset: Dataset, questions: Sequence[Question]
) -> dict[tuple[str, str, str], Float32[np.ndarray, " pixels"]]:
    """(concept, style, file) -> the picture on white, small."""
    names = {question.concept: question.prompt for question in questions}
    plain = [item for item in dataset.split("train") if item.prompts[0][0] == names.get(item.concept)]
    pixels = dataset.load_pixels(plain)
    return {(item.concept, item.style, item.image): _small(pixels[place]) for place, item in enumerate(plain)}


def _small(image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " pixels"]:
    return np.asarray(Image.fromarray(image).resize((SMALL, SMALL), Image.Resampling.BOX), np.float32).ravel()


def _judge(
    wish: Wish, image: UInt8[np.ndarray, "h w 3"], real: dict[tuple[str, str, str], np.ndarray]
) -> tuple[bool, bool]:
    """Whether the wish came true, and whether the picture shows the thing."""
    small = _small(on_white(image))
    distances = {key: float(((small - picture) ** 2).sum()) for key, picture in real.items()}
    shows_thing = min(distances, key=distances.__getitem__)[0] == wish.concept
    if wish.kind in ("name", "synonym"):
        return shows_thing, shows_thing
    if wish.kind == "background":
        return background_of(image) == wish.value, shows_thing
    of_thing = {key: distance for key, distance in distances.items() if key[0] == wish.concept}
    return min(of_thing, key=of_thing.__getitem__)[1] == wish.value, shows_thing


def _pictures_by_prompt(dataset: Dataset, prompts: Set[str]) -> dict[str, UInt8[np.ndarray, "pictures h w 3"]]:
    """The real pictures that were learned with each of the prompts."""
    found: dict[str, list[Item]] = {}
    for item in dataset.split("train"):
        for prompt, _ in item.prompts:
            if prompt in prompts:
                found.setdefault(prompt, []).append(item)
    return {prompt: dataset.load_pixels(items) for prompt, items in found.items()}


def _is_whole(image: UInt8[np.ndarray, "h w 3"], real: UInt8[np.ndarray, "pictures h w 3"]) -> bool:
    """Whether all is there that some real picture shows, and nothing else."""
    return any(_missing(image, picture) <= MISSING for picture in real)


def _missing(image: UInt8[np.ndarray, "h w 3"], real: UInt8[np.ndarray, "h w 3"]) -> float:
    """What a picture has otherwise than a real one, as a share of what that one has otherwise than its background."""
    background = np.full_like(real, border_color(real))
    return float(_squared_distance(image, real) / max(_squared_distance(background, real), 1.0))


def _squared_distance(one: UInt8[np.ndarray, "h w 3"], other: UInt8[np.ndarray, "h w 3"]) -> float:
    return float(((_small(one) - _small(other)) ** 2).sum())
