"""What is to be refined and how, and what comes of it: the values that travel between stages. Imports no JAX."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from model_core.codecs import CodecConfig
from model_core.errors import InvalidValue
from model_core.sampler.sequence import SEEDS

MAX_TEXTS = 8  # of one refinement: every program has room for so many
MAX_STEPS = 1000
MAX_CUTOUTS = 256
STEPS, CUTOUTS = 60, 16  # where nothing else is said
INIT_WEIGHT = 3.0  # the same, of a picture: so held it gets no worse (docs/refine.md); noise is not held

PAINTING = 0.3  # of a step's time, that of the codec; the rest is the scorer's

Size = tuple[int, int]  # height and width in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """One picture to refine.

    Attributes:
      texts: each with its weight; what the picture is led towards, or away from where the weight is negative. The
        first is what it is scored by.
      seed: of the cutouts, and of the start where that is noise.
      steps: of gradient descent, all in all.
      cutouts: of the picture that the scorer looks at in one step.
      init_weight: how hard the picture is held to its start; 0 not at all.
      step_size: Adam's learning rate, in units of the codebook's vectors.

    Raises:
      InvalidValue: a value is out of range; `param` names it.
    """

    texts: tuple[tuple[str, float], ...]
    seed: int
    size: Size
    steps: int = STEPS
    cutouts: int = CUTOUTS
    init_weight: float = 0.0
    step_size: float = 0.1

    def __post_init__(self) -> None:
        if not 1 <= len(self.texts) <= MAX_TEXTS:
            raise InvalidValue(
                f"A picture is refined towards 1 to {MAX_TEXTS} texts; got {len(self.texts)}.", "prompts"
            )
        for _, weight in self.texts:
            if not math.isfinite(weight) or weight == 0:
                raise InvalidValue(f"A text's weight must be a number other than 0; got {weight!r}.", "prompts")
        for name, value, low, high in (
            ("steps", self.steps, 1, MAX_STEPS),
            ("cutouts", self.cutouts, 1, MAX_CUTOUTS),
            ("seed", self.seed, 0, SEEDS - 1),
        ):
            if type(value) is not int or not low <= value <= high:
                raise InvalidValue(f"{name} must be an integer from {low} to {high}; got {value!r}.", name)
        for name, number in (("init_weight", self.init_weight), ("step_size", self.step_size)):
            if not (math.isfinite(number) and number >= 0):
                raise InvalidValue(f"{name} must be a number from 0 on; got {number!r}.", name)

    def cost(self, native: Size) -> int:
        """How long it takes: as long as so many steps of the usual cutouts at the codec's `native` size."""
        area = self.size[0] * self.size[1] / (native[0] * native[1])
        looks = self.cutouts / CUTOUTS
        return math.ceil(self.steps * (PAINTING * area + (1 - PAINTING) * looks))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """All that the next step depends on, beside the `Refinement`: another process goes on from it, to the last bit.

    Attributes:
      step: how many steps were made.
      vectors: a vector for each code of the picture, near those of the codebook.
      mean, square: Adam's moving averages of the gradient and of its square.
      start: the vectors of step 0.
    """

    step: int
    vectors: Float32[np.ndarray, "rows columns E"]
    mean: Float32[np.ndarray, "rows columns E"]
    square: Float32[np.ndarray, "rows columns E"]
    start: Float32[np.ndarray, "rows columns E"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Refined:
    """The picture after some steps.

    Attributes:
      score: of the first text, as the scorer scores any picture; higher is better.
    """

    image: UInt8[np.ndarray, "height width 3"]
    score: float
    state: State

    @property
    def step(self) -> int:
        """How many steps were made."""
        return self.state.step


def grid_of(size: Size, codec: CodecConfig) -> tuple[int, int]:
    """Rows and columns of the codes of a picture of that size.

    Raises:
      InvalidValue: a side is no multiple of the pixels of a code.
    """
    (height, width), (tall, wide) = size, (codec.size[0] // codec.grid.rows, codec.size[1] // codec.grid.columns)
    if min(size) < 1 or height % tall or width % wide:
        raise InvalidValue(
            f"A picture of {width}x{height} cannot be refined: its width must be a multiple of {wide}, its height one "
            f"of {tall}.",
            "size",
        )
    return height // tall, width // wide
