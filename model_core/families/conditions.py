"""What a family makes of texts, and what its pictures are made of: the values that travel between stages.

numpy only, so that every process can import it.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from model_core.errors import CheckpointMismatch

FREE = -1  # in place of a code that is to be drawn

Role = Literal["text", "sampler"]  # the parts of a model that one family's weights may be for


class Grid(NamedTuple):
    """A picture as `rows` × `columns` codes, row by row, each below `codebook`."""

    rows: int
    columns: int
    codebook: int

    @property
    def num_codes(self) -> int:
        """N: codes of one picture."""
        return self.rows * self.columns


def common_grid(model: str, sampler: Grid, codec: Grid) -> Grid:
    """The grid of what a sampler draws and a codec decodes; ids that the codec has no vector for are not drawn.

    Raises:
      CheckpointMismatch: the two do not fit together.
    """
    if sampler[:2] != codec[:2]:
        drawn, decoded = (f"{grid.rows} × {grid.columns}" for grid in (sampler, codec))
        raise CheckpointMismatch(f"{model}: the sampler draws {drawn} codes an image, the codec takes {decoded}.")
    return codec._replace(codebook=min(sampler.codebook, codec.codebook))


class StepNumbers(NamedTuple):
    """How many numbers a step has to read, at least: once for all rows, and for each row.

    Attributes:
      weights: of the products, whatever the number of rows.
      text: that a row keeps of its text.
      per_code: that a row keeps of each code before.
    """

    weights: int
    text: int
    per_code: int


@dataclass(frozen=True, eq=False)
class Condition:
    """A text as the sampler takes it; for functions of whole batches, several with a leading axis.

    Attributes:
      values: encoder states [T, D], or token ids [T] where the sampler itself reads the text.
      mask: 1 = real, 0 = padding.
    """

    values: Float32[np.ndarray, "... T D"] | Int32[np.ndarray, "... T"]
    mask: Int32[np.ndarray, "... T"]

    @cached_property
    def key(self) -> bytes:
        """The same for the same condition: what is made of one is kept under it."""
        digest = hashlib.blake2b(self.values.tobytes(), digest_size=16)
        digest.update(self.mask.tobytes())
        return digest.digest()


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPrompt:
    """A request's text, read once.

    Attributes:
      condition: of the prompt.
      uncondition: what guidance leads away from: the negative prompt, or no text at all; None without guidance, and
        of models that cannot be guided.
      words: the prompt as the model reads it, after normalising.
      num_tokens: text tokens of the prompt, begin and end among them; what is beyond the model's length is not read.
      num_negative_tokens: of the negative prompt; 0 where there is none.
    """

    condition: Condition
    uncondition: Condition | None
    words: str
    num_tokens: int
    num_negative_tokens: int = 0
