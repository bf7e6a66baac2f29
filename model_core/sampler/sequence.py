"""One image to draw, checked: what the sampler is asked for, before any device sees it.

Knows nothing of the network, of batches, or of who asks.
"""

import hashlib
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from model_core.errors import InvalidValue

FREE = -1  # in place of a fixed code


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the codes of an image are drawn. A further parameter is a field here, one of the request, and its use.

    Attributes:
      guidance_scale: how hard to follow the prompt; 1 is no guidance.
      temperature: divides the logits; above 0.
      top_k: draw among so many likeliest codes; 0 = all.
      top_p: draw among the likeliest codes that together have this probability; above 0, 1 = all.

    Raises:
      InvalidValue: a value is out of range or no number; `param` names it.
    """

    guidance_scale: float = 1.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        for name in ("guidance_scale", "temperature", "top_p"):
            value = np.asarray(getattr(self, name))
            is_real = value.ndim == 0 and value.dtype.kind in "iuf"
            _require(is_real and bool(abs(value) <= np.finfo(np.float32).max), self, name, "a finite number")
        _require(
            np.asarray(self.top_k).ndim == 0 and np.asarray(self.top_k).dtype.kind in "iu", self, "top_k", "an integer"
        )
        _require(self.temperature > 0, self, "temperature", "above 0")
        _require(self.top_k >= 0, self, "top_k", "0 (off) or more")
        _require(0 < self.top_p <= 1, self, "top_p", "above 0 and at most 1")

    @property
    def is_guided(self) -> bool:
        """Whether an image takes a second, unconditional row."""
        return self.guidance_scale != 1


def _require(is_fine: bool, sampling: Any, name: str, allowed: str) -> None:
    if not is_fine:
        raise InvalidValue(f"{name} is {getattr(sampling, name)!r}; it must be {allowed}.", name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SamplerJob:
    """One image to draw, with the encoder's view of the prompt and of what guidance leads away from.

    Attributes:
      uncond_states: of what guidance leads away from, with `uncond_mask`; None where `guidance_scale` is 1.
      fixed_codes: what the image has to have; -1 where codes are drawn. None fixes none.
    """

    states: Float32[np.ndarray, "T D"]
    mask: Int32[np.ndarray, " T"]
    uncond_states: Float32[np.ndarray, "T D"] | None = None
    uncond_mask: Int32[np.ndarray, " T"] | None = None
    seed: int
    guidance_scale: float = 10.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    fixed_codes: Int32[np.ndarray, " N"] | None = None


def Sequence(*, condition, uncondition=None, seed, sampling, fixed_codes=None) -> SamplerJob:
    """Until the sampler takes conditions."""
    return SamplerJob(
        states=condition.values,
        mask=condition.mask,
        uncond_states=uncondition and uncondition.values,
        uncond_mask=uncondition and uncondition.mask,
        seed=seed,
        fixed_codes=fixed_codes,
        **asdict(sampling),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A text as the decoder looks at it; `key` is the same for the same text."""

    states: Float32[np.ndarray, "T D"]
    mask: Int32[np.ndarray, " T"]
    key: bytes


@dataclass(frozen=True, slots=True, eq=False)
class CheckedJob:
    """A job that can be drawn.

    Attributes:
      texts: one for each row that it takes: the prompt, and under guidance what leads away.
      codes: -1 where one is to be drawn.
      sampling: of one image.
    """

    texts: tuple[Text, ...]
    codes: Int32[np.ndarray, " N"]
    sampling: Any

    @property
    def prefix_length(self) -> int:
        """How many codes from the first on are fixed without a gap."""
        is_free = self.codes == FREE
        return int(is_free.argmax()) if is_free.any() else self.codes.size


def check_job(job: SamplerJob, config: Any, num_codes: int) -> CheckedJob:
    """Checks a job against the model that is to draw it.

    Args:
      num_codes: ids from here on are never drawn, nor may they be fixed.

    Raises:
      InvalidValue: a value is out of range, or an array has the wrong shape; `param` names it.
    """
    sampling = import_module("model_core.sampler.sampling").sampling_params(
        1,
        num_codes=num_codes,
        guidance_scale=job.guidance_scale,
        temperature=job.temperature,
        top_k=job.top_k,
        top_p=job.top_p,
        seeds=[job.seed],
    )
    texts = [_text("prompt", job.states, job.mask, config)]
    if job.guidance_scale != 1:
        if job.uncond_states is None or job.uncond_mask is None:
            raise InvalidValue("Guidance needs an unconditional text; give one, or a scale of 1.", "guidance_scale")
        texts.append(_text("negative_prompt", job.uncond_states, job.uncond_mask, config))
    return CheckedJob(tuple(texts), _codes(job.fixed_codes, config.image_length, num_codes), sampling)


def _text(param, states, mask, config):
    expected = (config.max_text_length, config.d_model)
    if states.shape != expected or mask.shape != expected[:1]:
        raise InvalidValue(
            f"Encoder states have the shape {states.shape} and their mask {mask.shape}; "
            f"this model takes {expected} and {expected[:1]}.",
            param,
        )
    if not np.isfinite(states).all():  # such numbers would outlive the job in the caches of its rows
        raise InvalidValue("Encoder states hold numbers that are not finite.", param)
    digest = hashlib.blake2b(states.tobytes(), digest_size=16)
    digest.update(mask.tobytes())
    return Text(states, mask, digest.digest())


def _codes(fixed, length, num_codes):
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
