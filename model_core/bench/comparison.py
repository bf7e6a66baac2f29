"""Two ways of doing the same work, side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from model_core.bench.machine import Machine


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantity, measured both ways in turns.

    Attributes:
      what: was measured, with its unit.
      first: the median of the first way's.
      second: of the second way's.
      ratio: the median of the rounds' second by first.
    """

    what: str
    first: float
    second: float
    ratio: float


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """What one command measured.

    Attributes:
      settings: of the command, as they were given or filled in.
      ways: what the first and the second way are called.
    """

    what: str
    model: str
    dtype: str
    settings: dict[str, Any]
    machine: Machine
    ways: tuple[str, str]
    comparisons: tuple[Comparison, ...]


def compared(what: str, rounds: Sequence[tuple[float, float]]) -> Comparison:
    """Takes the first and the second way's value of each round."""
    firsts, seconds = zip(*rounds, strict=True)
    return Comparison(what, median(firsts), median(seconds), median(second / first for first, second in rounds))


def in_turns(first: Callable[[], float], second: Callable[[], float], repeats: int) -> list[tuple[float, float]]:
    """Has both measured in each of so many rounds; every other round begins with the second."""
    rounds = []
    for number in range(repeats):
        if number % 2:
            later = second()
            rounds.append((first(), later))
        else:
            rounds.append((first(), second()))
    return rounds
