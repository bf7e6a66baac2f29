"""The policies as Serve runs them, with its bounds and delays around them, on loads as they come."""

import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.serve import autoscaling_policy
from ray.serve.autoscaling_policy import _apply_autoscaling_config  # what Serve puts around every policy
from ray.serve.config import AutoscalingConfig

from deployments.scaling.autoscaling import DEADBAND, SamplerLoad, ScaleOnCalls, ScaleOnSlots
from deployments.telemetry.metrics import SlotCounts

LOOK_BACK_S = 10
START_S = 20  # until a replica has loaded its model
IMAGE_S = 5
SLOTS = 4
DRAIN_S = 30
CONFIG = AutoscalingConfig(
    min_replicas=1, max_replicas=20, target_ongoing_requests=3, upscale_delay_s=10, downscale_delay_s=300
)


class Sampler:
    """Replicas of four slots, in which an image takes five seconds, under a policy; a tick is a second."""

    def __init__(
        self,
        policy: Callable[[Any], tuple[float, dict[str, Any]]],
        clock: SimpleNamespace,
        config: AutoscalingConfig = CONFIG,
        ready_at: Iterable[float] = (0.0,),
    ):
        self.decide = _apply_autoscaling_config(policy)
        self.clock = clock
        self.config = config
        self.ready_at = list(ready_at)
        self.ends: list[float] = []
        self.waiting = 0
        self.seen: deque[tuple[int, int]] = deque(maxlen=LOOK_BACK_S)
        self.state: dict[str, Any] = {}
        self.targets: list[int] = []

    def tick(self, arrivals: int) -> None:
        self.clock.now += 1
        now = self.clock.now
        ready = sum(at <= now for at in self.ready_at)
        self.ends = [end for end in self.ends if end > now]
        self.waiting += arrivals
        begun = min(self.waiting, ready * SLOTS - len(self.ends))
        self.waiting -= max(begun, 0)
        self.ends += [now + IMAGE_S] * begun
        self.seen.append((len(self.ends), self.waiting))
        self._decide(ready)

    def _decide(self, ready: int) -> None:
        busy, waiting = (sum(numbers) / len(self.seen) for numbers in zip(*self.seen, strict=True))
        stats = {"active_slots": {"r": busy}, "waiting_images": {"r": waiting}, "image_seconds": {"r": IMAGE_S}}
        context = SimpleNamespace(
            aggregated_metrics=stats,
            total_queued_requests=0.0,
            total_num_requests=busy + waiting,
            current_num_replicas=ready,
            target_num_replicas=len(self.ready_at),
            policy_state=self.state,
            config=self.config,
        )
        wanted, self.state = self.decide(context)
        target = min(max(math.ceil(wanted), self.config.min_replicas), self.config.max_replicas)
        self.ready_at = self.ready_at[:target] + [self.clock.now + START_S] * (target - len(self.ready_at))
        self.targets.append(target)

    def run(self, load: Iterable[int]) -> "Sampler":
        for arrivals in load:
            self.tick(arrivals)
        return self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time by which Serve's delays go."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(autoscaling_policy, "time", SimpleNamespace(time=lambda: clock.now))
    return clock


def turns(targets: list[int]) -> int:
    """How often the number of replicas went the other way."""
    steps = [b - a for a, b in pairwise(targets) if a != b]
    return sum(a * b < 0 for a, b in pairwise(steps))


def poisson(rate: float, seconds: int, seed: int = 0) -> list[int]:
    """Arrivals of many who know nothing of each other."""
    source = random.Random(seed)
    return [sum(source.random() < rate / 100 for _ in range(100)) for _ in range(seconds)]


def test_a_steady_load_gets_what_it_needs_and_no_more(clock: SimpleNamespace):
    sampler = Sampler(ScaleOnSlots(DRAIN_S), clock).run([4] * 600)
    assert sampler.waiting == 0
    needed = 4 * IMAGE_S / 3  # 20 busy slots, 3 of them in each
    assert needed <= sampler.targets[-1] <= math.ceil(needed * (1 + DEADBAND))
    assert turns(sampler.targets) == 1  # more of them while what had waited was drawn, and then never again


def test_a_load_as_it_comes_does_not_make_it_swing(clock: SimpleNamespace):
    for rate in (1.0, 2.4, 3.0, 7.2):
        sampler = Sampler(ScaleOnSlots(DRAIN_S), clock).run(poisson(rate, 3600))
        assert turns(sampler.targets) <= 2, rate  # in an hour


def test_serves_own_rule_without_a_deadband_would_swing(clock: SimpleNamespace):
    def bare(context: Any) -> tuple[float, dict[str, Any]]:
        return context.total_num_requests / context.config.target_ongoing_requests, {}

    config = CONFIG.model_copy(update={"downscale_delay_s": 10.0})
    swinging = Sampler(bare, clock, config).run(poisson(3.0, 1800))
    steady = Sampler(ScaleOnCalls(), clock, config).run(poisson(3.0, 1800))
    assert turns(steady.targets[300:]) < turns(swinging.targets[300:]) / 2


def test_a_burst_that_is_over_before_a_replica_could_start_brings_few(clock: SimpleNamespace):
    burst = [40] + [0] * 400
    on_calls = Sampler(ScaleOnCalls(), clock).run(burst)
    on_slots = Sampler(ScaleOnSlots(DRAIN_S), clock).run(burst)
    assert max(on_slots.targets) <= 4 < 10 < max(on_calls.targets)


def test_it_follows_a_ramp_up_and_down_and_returns_to_the_minimum(clock: SimpleNamespace):
    ramp = [second // 100 for second in range(800)]
    sampler = Sampler(ScaleOnSlots(DRAIN_S), clock).run(ramp + ramp[::-1] + [0] * 400)
    assert turns(sampler.targets) == 1
    assert max(sampler.targets) >= math.ceil(7 * IMAGE_S / 3)
    assert sampler.targets[-1] == 1 and sampler.waiting == 0


def test_a_day_has_one_rise_and_one_fall(clock: SimpleNamespace):
    day = [round(4 - 4 * math.cos(2 * math.pi * second / 3600)) for second in range(3600)]
    sampler = Sampler(ScaleOnSlots(DRAIN_S), clock).run(day)
    assert turns(sampler.targets) == 1


def test_an_idle_stage_that_may_go_away_does(clock: SimpleNamespace):
    config = CONFIG.model_copy(update={"min_replicas": 0})
    sampler = Sampler(ScaleOnSlots(DRAIN_S), clock, config).run([1] * 60 + [0] * 800)
    assert sampler.targets[-1] == 0


def test_the_first_call_to_a_stage_that_is_away_brings_it_back_at_once(clock: SimpleNamespace):
    config = CONFIG.model_copy(update={"min_replicas": 0})
    sampler = Sampler(ScaleOnSlots(DRAIN_S), clock, config, ready_at=[]).run([1])
    assert sampler.targets == [1]


def test_without_reports_it_goes_by_calls():
    for stats in (None, {}, {"active_slots": {}}):
        context = SimpleNamespace(
            aggregated_metrics=stats,
            total_num_requests=9,
            target_num_replicas=1,
            config=SimpleNamespace(target_ongoing_requests=3),
        )
        assert ScaleOnSlots(DRAIN_S)(context) == (3, {})


def test_what_waits_in_the_gateway_counts():
    def wanted(queued: float) -> float:
        stats = {"active_slots": {"r": 3}, "waiting_images": {"r": 0}, "image_seconds": {"r": 15.0}}
        config = SimpleNamespace(target_ongoing_requests=3)
        context = SimpleNamespace(
            aggregated_metrics=stats, total_queued_requests=queued, target_num_replicas=1, config=config
        )
        return ScaleOnSlots(DRAIN_S)(context)[0]

    assert wanted(0) == 1
    assert wanted(12) == 3  # 12 images of 15 s in 30 s: 6 slots more


def test_a_samplers_load_is_measured_between_two_reports():
    clock = SimpleNamespace(now=0.0)
    load = SamplerLoad(codes_per_image=64, clock=lambda: clock.now)

    def report(active: int, codes_drawn: int) -> dict[str, float]:
        return load.stats(SlotCounts(slots=4, active=active, waiting=1, codes_drawn=codes_drawn))

    assert report(2, 0) == {"active_slots": 2, "waiting_images": 1, "image_seconds": 0.0}
    clock.now = 10.0
    assert report(2, 320)["image_seconds"] == pytest.approx(4.0)  # 16 codes a second in each of two slots
    clock.now = 20.0
    assert report(0, 320)["image_seconds"] == pytest.approx(4.0)  # idle: nothing is learnt


@pytest.mark.parametrize("policy", [ScaleOnCalls, ScaleOnSlots])
def test_a_policy_can_be_sent_by_value(policy: type):
    from deployments.scaling import autoscaling

    cloudpickle.register_pickle_by_value(autoscaling)
    try:
        sent = cloudpickle.dumps(policy)
    finally:
        cloudpickle.unregister_pickle_by_value(autoscaling)
    assert b"deployments.telemetry.metrics" not in sent  # nothing for the controller to import
    assert policy.__name__.encode() in sent
