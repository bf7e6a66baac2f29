"""How many codes a step tries to draw: what pays most, by what steps cost and by how many of the guesses turn out right.

Of windows of 4, 8, 16 and 32 places the shipped model's steps draw 2.5, 3.9, 6.3 and 8.6 codes: the power 0.65 of the
window, nearly. So what is learnt of one window tells of the others. Numbers only; the device is for others to know.
"""

import math
from collections.abc import Sequence as Values

WINDOWS = (1, 4, 8, 16, 32)

EXPECTED_POWER = 0.5  # before anything is known
MEMORY = 64  # steps of an image after which what was learnt before counts e times less
WORTH_A_CHANGE = 1.1  # codes a second, by those of the window in use
PROBE_EVERY = 256  # steps of one code; the next one tries a window all the same, lest what was learnt once holds for ever


class Windows:
    """Chooses among `windows`; with one of them only, there is nothing to choose.

    Attributes:
      window: that was chosen last.
    """

    def __init__(self, windows: Values[int]):
        self._windows = sorted(windows)
        self._powers = dict.fromkeys(self._windows, EXPECTED_POWER)
        self._prices: dict[tuple[int, int], float] = {}
        self._chosen: dict[int, int] = {}
        self._steps_of_one = 0
        self.window = self._windows[0]

    def set_price(self, rows: int, window: int, seconds: float) -> None:
        """Says what a step of so many rows costs."""
        self._prices[rows, window] = seconds

    def codes_a_step(self, window: int) -> float:
        """How many codes of an image a step is expected to draw."""
        return window ** self._powers[window]

    def plan(self, rows: int, codes: int) -> tuple[int, int]:
        """The window, and the number of steps in which so many codes of each image can be expected, at least one."""
        self.window = self._choose(rows)
        steps = max(1, round(codes / self.codes_a_step(self.window)))
        if self.window > 1:
            self._steps_of_one = 0
        elif len(self._windows) > 1:
            if self._steps_of_one >= PROBE_EVERY:
                self.window, steps = self._windows[1], 1
                self._steps_of_one = 0
            self._steps_of_one += steps
        return self.window, steps

    def learn(self, window: int, steps: int, codes: int) -> None:
        """Takes in how many codes so many steps of images drew. What is learnt of one window moves all of them alike."""
        if window > 1 and steps:
            found = min(max(math.log(codes / steps) / math.log(window), 0.0), 1.0)
            moved = (1 - math.exp(-steps / MEMORY)) * (found - self._powers[window])
            self._powers = {each: min(max(power + moved, 0.0), 1.0) for each, power in self._powers.items()}

    def _choose(self, rows: int) -> int:
        """What is in use stays unless another one is clearly better."""
        speeds = {each: self.codes_a_step(each) / self._prices.get((rows, each), each) for each in self._windows}
        best = max(speeds, key=speeds.__getitem__)
        now = self._chosen.get(rows, best)
        self._chosen[rows] = best if speeds[best] > WORTH_A_CHANGE * speeds[now] else now
        return self._chosen[rows]
