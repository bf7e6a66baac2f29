"""Requests as many people make them: a few again and again, most once or never (Zipf's law)."""

import random
from itertools import accumulate
from typing import Any


class ZipfTrace:
    """An endless row of requests, of which the r-th most popular comes with a frequency of 1 / r^exponent.

    Each is a prompt and a seed of its own, so that it means the same images each time. The same arguments give the same
    row.

    Args:
      prompts: of which the requests' are made: one each, then two of them together.
      size: how many different requests there are.
      seed: of the order in which they come.
    """

    def __init__(self, prompts: list[str], size: int, exponent: float, seed: int):
        pairs = [f"{first} and {second}" for second in prompts for first in prompts if first != second]
        texts = [*prompts, *pairs]
        self._requests = [{"prompt": texts[rank % len(texts)], "seed": rank} for rank in range(size)]
        self._weights = list(accumulate((rank + 1) ** -exponent for rank in range(size)))
        self._random = random.Random(seed)

    def next(self) -> dict[str, Any]:
        """The fields of the next request."""
        return dict(self._random.choices(self._requests, cum_weights=self._weights)[0])
