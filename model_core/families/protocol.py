"""What a family of models is to the rest: the functions that its module offers, described once.

A family is a module, found by `model_core.families`, static in `jit`. Its text conditions, weights and state are its
own affair: the rest knows that their leaves lead with the row axis (R; B where a batch is meant), and nothing else.
Only where a model lies on several devices, leaves with four axes are taken for keys and values [R, H, S, K], cut by
heads.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Int

from model_core.families.conditions import Condition, EncodedPrompt, Grid, Role, StepNumbers
from model_core.weights.networks import Network

Place = Callable[[str, np.ndarray], Any]  # an array's name and content → what the tree holds of it, on its devices


@runtime_checkable
class Config(Protocol):
    """The sizes of one model: frozen and hashable, for it is static in `jit`."""

    @property
    def grid(self) -> Grid:
        """What a picture is made of; the codebook is all that logits score."""
        ...

    @property
    def condition_shape(self) -> tuple[int, ...]:
        """Of a condition's values: [T, D] or [T]."""
        ...

    @property
    def guides(self) -> bool:
        """Whether there is a text that says nothing, for guidance to lead away from; else guidance is refused."""
        ...

    @property
    def default_sampling(self) -> Mapping[str, float]:
        """guidance_scale, temperature, top_k and top_p where nobody says how to draw; those of the reference."""
        ...


@runtime_checkable
class Text(Protocol):
    """Prompts → conditions. Safe to share between threads."""

    def __call__(self, prompt: str, negative: str | None = None) -> tuple[Condition, Condition | None]:
        """A prompt's condition, and what guidance leads away from: `negative`, or no text at all.

        None where the model was trained without a text that says nothing: it is drawn without guidance, or refused.
        """
        ...

    def encode(self, pairs: Sequence[tuple[str, str | None]]) -> list[EncodedPrompt]:
        """The same for several prompts at once; a negative of None asks for no uncondition, "" for that of no text."""
        ...


@runtime_checkable
class Reader(Network, Protocol):
    """A module that reads texts: a family's, or that of a part which does nothing else.

    Attributes:
      CUT_AXES: how its parameters lie on several devices; see `weights.sharding`.
    """

    CUT_AXES: Sequence[tuple[str, int | None]]

    def role_of(self, name: str) -> Role:
        """Whether a parameter is for reading texts or for drawing codes."""
        ...

    def open_text(
        self, folder: Path, dtype: str = "float32", *, batch_size: int = 8, place: Place | None = None
    ) -> Text:
        """Opens what reads texts, so many at a time; raises as `families.load`."""
        ...


@runtime_checkable
class Family(Reader, Protocol):
    """The functions of a family's module, beside those of every network and every reader."""

    def cutting(self, place: Place | None = None) -> Place | None:
        """Where parameters go while they are loaded for `step_weights`, so that nothing is there twice."""
        ...

    def logits(
        self,
        config: Any,
        params: Any,
        values: Float[Array, "B T D"] | Int[Array, "B T"],
        mask: Int[Array, "B T"],
        codes: Int[Array, "B L"],
    ) -> Float[Array, "B L+1 C"]:
        """Teacher-forced scores: row i scores code i given `codes[:i]`; L at most N - 1. Raw, without guidance."""
        ...

    def step_weights(self, params: Any) -> Any:
        """`params` as the four functions below read them fastest on the device that holds them."""
        ...

    def read_text(self, config: Any, weights: Any, values: Any, mask: Int[Array, "R T"]) -> Any:
        """What the layers look at of a text: made once for each, and shared by all of its images."""
        ...

    def empty(self, config: Any, weights: Any, rows: int, parts: int = 1) -> Any:
        """The state of rows that nobody has: finite, and of the right shapes.

        Args:
          parts: a step may read only the first few of so many parts of all positions; a family need not make use of it.
        """
        ...

    def prefill(self, config: Any, weights: Any, text: Any, codes: Int[Array, "R L"], parts: int = 1) -> Any:
        """The state of rows whose first L codes are there; L may be 0. Parts as in `empty`.

        It holds nothing, for positions before L, that depends on what `codes` says there or later.
        """
        ...

    def step(
        self, config: Any, weights: Any, state: Any, codes: Int[Array, "R L"], position: Int[Array, " R"], reach: int
    ) -> tuple[Float[Array, "R L C"], Any]:
        """Scores the L codes from each row's `position` on.

        Args:
          codes: the code before each of these positions; what stands before position 0 does not matter.
          reach: no position lies at or beyond it.

        Returns:
          float32 logits, -inf for what is no code; and the state. What it holds of positions whose codes turn out
          otherwise is written over by the steps that come there.
        """
        ...

    def step_numbers(self, config: Any) -> StepNumbers:
        """What a step has to read, at least: for what a machine can do, and for the memory of a row."""
        ...
