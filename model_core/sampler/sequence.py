"""One image to draw: what it is to show, how its codes are drawn, and how far it is.

numpy only, so that whoever asks for images can import it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32

from model_core.errors import InvalidValue
from model_core.families.conditions import FREE, Condition

SEEDS = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the codes of an image are drawn. A further parameter is a field here, one of the request, and its use.

    Attributes:
      guidance_scale: how hard to follow the prompt; 1 is no guidance.
      temperature: divides the logits; above 0.
      top_k: draw among so many likeliest codes; 0 = all.
      top_p: draw among the likeliest codes that together have this probability; above 0, 1 = all.
      guided_codes: guide so many codes, and draw the others from the prompt alone; 0 = all. LlamaGen's `cfg_interval` k
        is k + 2.

    Raises:
      InvalidValue: a value is out of range or no number; `param` names it.
    """

    guidance_scale: float = 1.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guided_codes: int = 0

    def __post_init__(self) -> None:
        for name in ("guidance_scale", "temperature", "top_p"):
            value = np.asarray(getattr(self, name))
            is_real = value.ndim == 0 and value.dtype.kind in "iuf" and abs(value) <= np.finfo(np.float32).max
            self._require(bool(is_real), name, "a finite number")
        for name in ("top_k", "guided_codes"):
            value = np.asarray(getattr(self, name))
            self._require(value.ndim == 0 and value.dtype.kind in "iu", name, "an integer")
        self._require(self.temperature > 0, "temperature", "above 0")
        self._require(self.top_k >= 0, "top_k", "0 (off) or more")
        self._require(self.guided_codes >= 0, "guided_codes", "0 (all) or more")
        self._require(0 < self.top_p <= 1, "top_p", "above 0 and at most 1")

    @property
    def is_guided(self) -> bool:
        """Whether an image takes a second, unconditional row."""
        return self.guidance_scale != 1

    def _require(self, is_fine: bool, name: str, allowed: str) -> None:
        if not is_fine:
            raise InvalidValue(f"{name} is {getattr(self, name)!r}; it must be {allowed}.", name)


@dataclass(slots=True, eq=False)
class Slot:
    """The place of an image on the device.

    Attributes:
      position: of the code that the next turn begins with, at least: a step draws one code or more.
      furthest: the same, at most.
      rows: the conditional one first, then the unconditional one; none before the first turn.
    """

    position: int
    furthest: int
    rows: tuple[int, ...] = ()


@dataclass(slots=True, eq=False, kw_only=True)
class Sequence:
    """One image to draw.

    Attributes:
      uncondition: what guidance leads away from; None where `sampling` has no guidance.
      seed: below 2³²; position p draws with fold_in(key(seed, impl="threefry2x32"), p).
      fixed_codes: what the image has to have; -1 where codes are drawn. None fixes none.
      noise: Gumbel noise to use in place of the seed's: to draw what was recorded elsewhere.
      codes: as far as they are known, -1 where one is to come.
      position: so many codes are known from the first on.
      near_ties: which of those drawn won by less than `sampling.NEAR_TIE`.
      slot: its place, while it has one.
      parked: what each of its rows was when it gave way, where that is kept for it.
      listener: called with `codes` when a stop is passed and at the end, or with an exception.
      request_id: images of one request share its turns.
      is_batch: nobody waits for it in person, so that it gives way to those for which somebody does.
      stops: positions that the listener wants to hear of.
      expires: by the engine's clock.
      is_over: nobody waits for it any more.
    """

    condition: Condition
    uncondition: Condition | None = None
    seed: int
    sampling: Sampling = Sampling()
    fixed_codes: Int32[np.ndarray, " N"] | None = None
    noise: Float32[np.ndarray, "N C"] | None = None

    codes: Int32[np.ndarray, " N"] = field(init=False)
    position: int = field(init=False)
    near_ties: Bool[np.ndarray, " N"] = field(init=False)
    slot: Slot | None = field(init=False, default=None)
    parked: list[list[np.ndarray]] = field(init=False, default_factory=list)

    listener: Callable[[Any], None] = field(init=False)
    request_id: str = field(init=False, default="")
    is_batch: bool = field(init=False, default=False)
    stops: tuple[int, ...] = field(init=False, default=())
    expires: float = field(init=False, default=math.inf)
    is_over: bool = field(init=False, default=False)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """One for each row that the image takes."""
        return (self.condition, self.uncondition) if self.uncondition is not None else (self.condition,)

    def check(self, condition_shape: tuple[int, ...], num_codes: int, length: int) -> None:
        """Compares it with the model that is to draw it, and makes it ready.

        Args:
          condition_shape: of a condition's values.
          num_codes: ids from here on are no codes.
          length: N, codes of an image.

        Raises:
          InvalidValue: a value is out of range, or an array has the wrong shape; `param` names it.
        """
        if isinstance(self.seed, bool) or not isinstance(self.seed, int | np.integer) or not 0 <= self.seed < SEEDS:
            raise InvalidValue(f"seed is {self.seed!r}; it must be an integer from 0 to {SEEDS - 1}.", "seed")
        if not self.sampling.is_guided:
            self.uncondition = None
        elif self.uncondition is None:
            raise InvalidValue(
                f"guidance_scale is {self.sampling.guidance_scale:g}, but there is no text to lead away from: "
                "this model was trained without one, or none was given. Set it to 1.",
                "guidance_scale",
            )
        for param, condition in zip(("prompt", "negative_prompt"), self.conditions, strict=False):
            _check_condition(param, condition, condition_shape)
        self.codes = _checked_codes(self.fixed_codes, num_codes, length)
        is_free = self.codes == FREE
        self.position = int(is_free.argmax()) if is_free.any() else length
        self.near_ties = np.zeros(length, bool)
        self.is_over = False


def _check_condition(param: str, condition: Condition, shape: tuple[int, ...]) -> None:
    got = condition.values.shape, condition.mask.shape
    if got != (shape, shape[:1]):
        raise InvalidValue(
            f"A condition's values have the shape {got[0]} and its mask {got[1]}; this model takes {shape} and "
            f"{shape[:1]}.",
            param,
        )
    if not np.isfinite(condition.values).all():  # such numbers would outlive the image in the state of its rows
        raise InvalidValue("A condition holds numbers that are not finite.", param)


def _checked_codes(fixed: Any, num_codes: int, length: int) -> Int32[np.ndarray, " N"]:
    if fixed is None:
        return np.full(length, FREE, np.int32)
    if fixed.shape != (length,) or fixed.dtype.kind not in "iu":
        raise InvalidValue(
            f"fixed_codes has the shape {fixed.shape} and the type {fixed.dtype}; it must be {length} integers.",
            "fixed_codes",
        )
    if fixed.min() < FREE or fixed.max() >= num_codes:
        raise InvalidValue(
            f"fixed_codes lie in {fixed.min()}…{fixed.max()}; they must be {FREE} (drawn) or in 0…{num_codes - 1}.",
            "fixed_codes",
        )
    return fixed.astype(np.int32)
