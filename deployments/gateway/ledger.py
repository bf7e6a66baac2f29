"""How many images each key may still have drawn, and what each has had: one ledger for all gateways.

A gateway takes images on credit, some at a time, so that most requests ask nobody. What a gateway has taken when it
dies is spent; it is there again within a minute. Of what keys have had, each gateway reports all since its start, so
that it does not matter how often it does, nor whether the ledger has forgotten it.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

Counts = dict[str, dict[str, int]]  # of each model: images_drawn, requests, …


class Bucket:
    """Holds a minute's images and fills up evenly.

    Attributes:
      left: images that are in it.
    """

    def __init__(self, images_per_minute: int, clock: Callable[[], float]):
        self.images_per_minute = images_per_minute
        self._clock = clock
        self._left = float(images_per_minute)
        self._filled_at = clock()

    @property
    def left(self) -> float:
        """Images in it now."""
        now = self._clock()
        came = (now - self._filled_at) * self.images_per_minute / 60
        self._left = min(self.images_per_minute, self._left + came)
        self._filled_at = now
        return self._left

    def take(self, num_images: float) -> None:
        """Takes images out, as many as there are."""
        self._left = max(0.0, self.left - num_images)

    def put(self, num_images: float) -> None:
        """Puts images back."""
        self._left = min(self.images_per_minute, self.left + num_images)

    def seconds_to(self, num_images: float) -> float:
        """How long it takes until so many are in it."""
        return max(0.0, num_images - self.left) * 60 / self.images_per_minute


class Credit(NamedTuple):
    """What a gateway was given of a key's images, and how many are left for all."""

    images: int
    left: float


class Had(NamedTuple):
    """What a key has had, by model, and since when that is counted (seconds since 1970)."""

    since: int
    models: Counts


class Ledger:
    """The buckets and counts of all keys."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._since = int(time.time())
        self._reports: dict[str, dict[str, Counts]] = {}  # by gateway, then key

    def credit(self, key: str, images_per_minute: int, needed: int, spare: int) -> Credit:
        """Gives a gateway what it needs, all of it or nothing; and of what is left then up to half, as spare."""
        bucket = self._buckets.get(key)
        if bucket is None or bucket.images_per_minute != images_per_minute:
            bucket = self._buckets[key] = Bucket(images_per_minute, self._clock)
        if needed > bucket.left:
            return Credit(0, bucket.left)
        images = needed + min(spare, int((bucket.left - needed) / 2))
        bucket.take(images)
        return Credit(images, bucket.left)

    def give_back(self, key: str, images: int) -> None:
        """Takes back what a gateway did not use."""
        if key in self._buckets:
            self._buckets[key].put(images)

    def report(self, gateway: str, counts: Mapping[str, Counts]) -> None:
        """Notes what keys have had of a gateway since it started."""
        self._reports.setdefault(gateway, {}).update(counts)

    def usage(self, key: str) -> Had:
        """What a key has had of all gateways, by model."""
        found: dict[str, Counter[str]] = {}
        for of_gateway in self._reports.values():
            for model, counts in of_gateway.get(key, {}).items():
                found.setdefault(model, Counter()).update(counts)
        return Had(self._since, {model: dict(counts) for model, counts in found.items()})
