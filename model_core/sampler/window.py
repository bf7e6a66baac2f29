"""How many codes a step tries to draw: what pays most, by what steps cost and how many guesses turn out right.

Of windows of 4, 8, 16 and 32 places the shipped model's steps draw about 2.6, 4.2, 6.5 and 8.7 codes: nearly the power
2/3 of the window. So what is learnt of one window tells of the others. Numbers only; the device is for others to know.
"""

import math
from collections.abc import Sequence as Values

WINDOWS: tuple[int, ...] = (1, 4, 8, 16, 32)

EXPECTED_POWER, EXPECTED_STEPS = 0.5, 4  # before anything is known; as if so many steps of an image had shown it
MEMORY = 64  # steps of an image: what is learnt counts among so many before it, at most
WORTH_A_CHANGE = 1.1  # codes a second, by those of the window in use
PROBE_EVERY = 256  # steps of one code, after which one step tries more, lest nothing be learnt any more


class Windows:
    """Chooses among `windows`, which ascend; of one there is nothing to choose.

    Attributes:
      window: that was chosen last.
    """

    def __init__(self, windows: Values[int]):
        self.windows = tuple(windows)
        self.window = self.windows[0]
        self._powers = dict.fromkeys(self.windows, EXPECTED_POWER)
        self._prices: dict[tuple[int, int], float] = {}
        self._chosen: dict[int, int] = {}
        self._steps_of_one, self._steps_learnt = 0, EXPECTED_STEPS

    def set_price(self, rows: int, window: int, seconds: float) -> None:
        """Says what a step of so many rows costs."""
        self._prices[rows, window] = seconds

    def codes_a_step(self, window: int) -> float:
        """How many codes of an image a step is expected to draw."""
        return window ** self._powers[window]

    def plan(self, rows: int, codes: int) -> tuple[int, int]:
        """The window, and the number of steps in which so many codes of each image can be expected, at least one."""
        self.window = self._choose(rows)
        if self.window == 1 and len(self.windows) > 1:
            self._steps_of_one += codes
            if self._steps_of_one > PROBE_EVERY:
                self._steps_of_one, self.window, codes = 0, self.windows[1], 1
        return self.window, max(1, round(codes / self.codes_a_step(self.window)))

    def learn(self, window: int, steps: int, codes: int) -> None:
        """Takes in how many codes so many steps of an image drew. What is learnt of one window moves all alike."""
        if window > 1:
            found = min(math.log(codes / steps) / math.log(window), 1.0)
            moved = steps / (self._steps_learnt + steps) * (found - self._powers[window])
            self._steps_learnt = min(self._steps_learnt + steps, MEMORY)
            self._powers = {each: min(max(power + moved, 0.0), 1.0) for each, power in self._powers.items()}

    def _choose(self, rows: int) -> int:
        """What is in use stays unless another one is clearly better, or the narrowest is better at all."""
        speeds = {each: self.codes_a_step(each) / self._prices.get((rows, each), each) for each in self.windows}
        best = max(speeds, key=speeds.__getitem__)
        now = self._chosen.get(rows, best)
        is_worse = speeds[best] > WORTH_A_CHANGE * speeds[now] or speeds[self.windows[0]] > speeds[now]
        self._chosen[rows] = best if is_worse else now
        return self._chosen[rows]
