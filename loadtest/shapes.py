"""How the load of an autoscaling run goes over its time: as a share of the peak."""

import math
from collections.abc import Callable

Shape = Callable[[float], float]  # from the share of the run that is over, 0…1, to the share of the peak, 0…1


def step(over: float) -> float:
    """Nothing, then the peak at once, then nothing again."""
    return 1.0 if 0.1 <= over < 0.6 else 0.0


def ramp(over: float) -> float:
    """Slowly up, and slowly down."""
    return max(0.0, 1.0 - abs(over - 0.4) / 0.4)


def spike(over: float) -> float:
    """A fifth of the peak all along, and the peak for a moment."""
    return 1.0 if 0.4 <= over < 0.5 else 0.2


def diurnal(over: float) -> float:
    """A day: quiet at both ends, busy in the middle."""
    return (1 - math.cos(2 * math.pi * over)) / 2


SHAPES: dict[str, Shape] = {shape.__name__: shape for shape in (step, ramp, spike, diurnal)}
