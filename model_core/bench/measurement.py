"""One measurement beside its limit, and what a run of the bench gives."""

from dataclasses import asdict, dataclass
from typing import Any

from model_core.bench.machine import Machine, peak_memory_bytes
from model_core.bench.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """So many images at a time, in seconds.

    Attributes:
      seconds: for all of them, the median of the repeats.
      limit_s: the least time for the same work on this machine.
      bound: which rate sets that limit, "memory" or "arithmetic".
      peak_memory_bytes: the most that was in use so far in this process, earlier measurements included.
      codes_per_s: of the token sampler alone, all images together.
      first_row_s: of the token sampler alone, until the first 16 codes of every image.
      window: of the token sampler alone, so many codes a step tried to draw; "auto" where that was found out.
      codes_a_step: of the token sampler alone, of each image.
    """

    images: int
    seconds: float
    limit_s: float
    bound: str
    peak_memory_bytes: int
    codes_per_s: float | None = None
    first_row_s: float | None = None
    window: int | str | None = None
    codes_a_step: float | None = None

    @property
    def s_per_image(self) -> float:
        return self.seconds / self.images

    @property
    def images_per_s(self) -> float:
        return self.images / self.seconds

    @property
    def limit_fraction(self) -> float:
        """1.0 = as fast as this machine can be."""
        return self.limit_s / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the fields and what follows from them."""
        derived = ("s_per_image", "images_per_s", "limit_fraction")
        return asdict(self) | {name: getattr(self, name) for name in derived}


@dataclass(frozen=True, slots=True)
class Report:
    """What one command measured.

    Attributes:
      what: "engine", "decoder" or "scorer".
      settings: of the command, as they were given or filled in.
    """

    what: str
    model: str
    dtype: str
    settings: dict[str, Any]
    machine: Machine
    measurements: tuple[Measurement, ...]


def measured(images: int, seconds: float, work: Work, machine: Machine, **more: Any) -> Measurement:
    """Sets a time beside the limit of the same work."""
    reading = work.num_bytes / machine.read_bytes_per_s
    return Measurement(
        images=images,
        seconds=seconds,
        limit_s=machine.seconds(work.num_bytes, work.num_flops),
        bound="memory" if reading * machine.flops_per_s > work.num_flops else "arithmetic",
        peak_memory_bytes=peak_memory_bytes(),
        **more,
    )
