"""How many replicas a deployment should have: policies that Ray Serve's controller calls ten times a second.

`ScaleOnCalls` counts calls under way and waiting; `ScaleOnSlots` counts a sampler's busy slots, and the work that waits
for one. Serve's own policy, which knows calls only, would start a replica for every few calls that wait, also where
they would all be done before it had loaded its model. Serve puts bounds and delays around both.
Knows nothing of Ray but the names in a policy's context: Serve sends this module to its controller by value.
"""

import time
from collections.abc import Callable
from typing import Any

from deployments.telemetry.metrics import SlotCounts

DEADBAND = 0.2  # how much emptier than the target all would have to be before one goes
WEIGHT_OF_LATEST = 0.3


class ScaleOnCalls:
    """As many replicas as bring each to its target of calls under way and waiting."""

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """Gives the replicas wanted, before bounds and delays, and no state."""
        return _steady(context.total_num_requests, context), {}


class ScaleOnSlots:
    """As many replicas as bring each to its target of busy slots, and draw what waits in time.

    By Little's law, images that wait and take `image_seconds` each need waiting × image_seconds / drain_s slots for
    `drain_s`; more than a slot each helps none of them.

    Args:
      drain_s: seconds within which what waits should be drawn.
    """

    def __init__(self, drain_s: float):
        self._drain_s = drain_s

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """Gives the replicas wanted, before bounds and delays, and no state."""
        stats = context.aggregated_metrics or {}
        if not stats.get("active_slots"):
            return _steady(context.total_num_requests, context), {}  # none has reported yet; an image is a call
        known = [seconds for seconds in stats["image_seconds"].values() if seconds > 0]
        slots_each = min(1.0, sum(known) / len(known) / self._drain_s) if known else 1.0
        waiting = sum(stats["waiting_images"].values()) + context.total_queued_requests
        return _steady(sum(stats["active_slots"].values()) + waiting * slots_each, context), {}


class SamplerLoad:
    """Turns a sampler's counts into the numbers that `ScaleOnSlots` reads; one for each replica."""

    def __init__(self, codes_per_image: int, clock: Callable[[], float] = time.monotonic):
        self._codes_per_image = codes_per_image
        self._clock = clock
        self._last: tuple[float, SlotCounts] | None = None
        self._codes_per_slot_s = 0.0

    def stats(self, counts: SlotCounts) -> dict[str, float]:
        """What `record_autoscaling_stats` returns: busy slots, waiting images, seconds that an image takes in a slot.

        The last is 0 until two calls have found the replica at work.
        """
        now = self._clock()
        if self._last is not None:
            then, before = self._last
            slot_seconds = (now - then) * (before.active + counts.active) / 2
            drawn = counts.codes_drawn - before.codes_drawn
            if slot_seconds > 0 and drawn > 0:
                known = self._codes_per_slot_s or drawn / slot_seconds
                self._codes_per_slot_s = known + WEIGHT_OF_LATEST * (drawn / slot_seconds - known)
        self._last = now, counts
        seconds = self._codes_per_image / self._codes_per_slot_s if self._codes_per_slot_s else 0.0
        return {"active_slots": counts.active, "waiting_images": counts.waiting, "image_seconds": seconds}


def _steady(work: float, context: Any) -> float:
    """Replicas for so much work. Fewer than there are only where that leaves room: one that goes must not come back."""
    wanted = work / context.config.target_ongoing_requests
    current = context.target_num_replicas
    return wanted if wanted >= current else min(current, wanted * (1 + DEADBAND))
