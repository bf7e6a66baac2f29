"""How much is needed for so many images a second: from measured stages to replicas, accelerators and queues.

A closed form: each stage's replicas are kept so busy that queues stay short, and by Little's law what is under way is
rate × time. It knows nothing of bursts beyond that margin, nor of what stages on one machine take from each other
beside their time.
Reads what `dalle-serve bench … --json` writes; measures nothing itself.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.config import Limits
from model_core.errors import InvalidValue

STAGES = {"engine": "token_sampler", "decoder": "image_decoder", "scorer": "clip_scorer"}  # as the bench calls them
BUSY = 0.75  # of a replica, on average: the same margin at which autoscaling adds one


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a stage was measured to take.

    Attributes:
      images: computed together.
      seconds: for all of them.
      device: that it was measured on.
      per_slot: how many images share one of a sampler's slots; two without guidance.
    """

    stage: str
    images: int
    seconds: float
    device: str
    per_slot: int = 1

    @property
    def width(self) -> int:
        """Slots or batch size that the images take."""
        return math.ceil(self.images / self.per_slot)

    @property
    def images_per_second(self) -> float:
        """Of one replica that is always busy."""
        return self.images / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """One stage's part of a plan.

    Attributes:
      busy: how much of the time each replica computes.
    """

    cost: Cost
    replicas: int
    busy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Emissions:
    """Electricity, of an image returned and of a day; and the CO2 equivalent of making it."""

    joules_per_image: float
    kwh_per_day: float
    kg_per_day: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is needed.

    Attributes:
      images_per_second: returned, as asked for.
      drawn_per_second: images drawn, those that best_of drops included.
      image_seconds: of one image through all stages, without waiting.
      max_pending_images: what the gateways may let in, all together, so that nobody waits longer than asked for.
    """

    stages: tuple[StagePlan, ...]
    images_per_second: float
    drawn_per_second: float
    image_seconds: float
    max_pending_images: int

    @property
    def shared_per_second(self) -> float:
        """Images that a machine draws a second where all stages share its one device, as they do on CPUs."""
        return 1 / sum(part.cost.seconds / part.cost.images for part in self.stages)

    @property
    def shared_machines(self) -> int:
        """How many such machines it takes, each as busy as a replica may be."""
        return math.ceil(self.drawn_per_second / (BUSY * self.shared_per_second))

    def emissions(self, watts: float, grams_per_kwh: float) -> "Emissions":
        """What the planned replicas consume, each on a device that takes so many watts whether it is busy or not.

        Args:
          watts: of one device under load.
          grams_per_kwh: of CO2 equivalent, of the electricity where the devices are.
        """
        devices = sum(part.replicas for part in self.stages)
        joules = devices * watts / self.images_per_second
        kwh_per_day = devices * watts * 24 / 1000
        return Emissions(
            joules_per_image=joules, kwh_per_day=kwh_per_day, kg_per_day=kwh_per_day * grams_per_kwh / 1000
        )

    def settings(self) -> dict[str, Any]:
        """The plan as settings of a model, and of its gateway."""
        stages = {
            part.cost.stage: {
                "slots" if part.cost.stage == "token_sampler" else "batch_size": part.cost.width,
                "min_replicas": part.replicas,
                "max_replicas": math.ceil(part.replicas * 1.5),
                "target_ongoing_requests": round(max(1.0, BUSY * part.cost.width), 1),
                "max_ongoing_requests": math.ceil(1.5 * part.cost.images),
            }
            for part in self.stages
        }
        return {
            "models": [stages],
            "gateway": {"max_pending_images": self.max_pending_images},
            "limits": {"max_best_of": min(Limits().max_best_of, self.max_pending_images)},
        }


def plan(costs: list[Cost], *, images_per_second: float, best_of: int = 1, n: int = 1, wait_s: float = 10.0) -> Plan:
    """Plans for a mean rate of images returned.

    Args:
      costs: of every stage at one or more batch sizes; of each the size with the most images a second is taken.
      wait_s: how long an accepted image may wait, beside the time that it takes.

    Raises:
      InvalidValue: the rate is not above 0, best_of is below n, or the sampler was not measured.
    """
    if not images_per_second > 0:
        raise InvalidValue(f"images_per_second is {images_per_second:g}: it must be above 0.", "images_per_second")
    if not best_of >= n >= 1:
        raise InvalidValue(f"best_of {best_of} is below n {n}, or n below 1.", "best_of")
    best: dict[str, Cost] = {}
    for cost in costs:
        if cost.stage not in best or cost.images_per_second > best[cost.stage].images_per_second:
            best[cost.stage] = cost
    if "token_sampler" not in best:
        raise InvalidValue("No report measures the sampler: make one with `dalle-serve bench engine`.", "bench")
    drawn = images_per_second * best_of / n
    parts = tuple(_stage_plan(best[stage], drawn) for stage in STAGES.values() if stage in best)
    image_seconds = sum(part.cost.seconds for part in parts)
    return Plan(
        stages=parts,
        images_per_second=images_per_second,
        drawn_per_second=drawn,
        image_seconds=image_seconds,
        max_pending_images=max(best_of, math.ceil(drawn * (image_seconds + wait_s))),
    )


def read_costs(path: Path) -> list[Cost]:
    """Reads a report of `dalle-serve bench`.

    Raises:
      InvalidValue: it is none.
    """
    try:
        report = json.loads(path.read_text())
        stage = STAGES[report["what"]]
        device = report["machine"]["device"]
        per_slot = 2 if report["settings"].get("guidance_scale") == 1 else 1
        return [
            Cost(stage=stage, images=one["images"], seconds=one["seconds"], device=device, per_slot=per_slot)
            for one in report["measurements"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidValue(f"{path} is no report of `dalle-serve bench … --json`: {error!r}.", "bench") from error


def _stage_plan(cost: Cost, images_per_second: float) -> StagePlan:
    replicas = math.ceil(images_per_second / (BUSY * cost.images_per_second))
    return StagePlan(cost=cost, replicas=replicas, busy=images_per_second / (replicas * cost.images_per_second))
