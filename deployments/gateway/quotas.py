"""How many images each key may have drawn in a minute, as one gateway sees it: on credit from the ledger of all.

Where the ledger is away, or has forgotten what was drawn, a gateway goes by what it has let through itself.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from deployments.errors import Overloaded
from deployments.gateway.admission import whole_seconds
from deployments.gateway.ledger import Bucket
from model_core.errors import InvalidValue

if TYPE_CHECKING:  # it imports Ray, which commands that read keys must not do before they have set its environment
    from deployments.gateway.commons import CommonsClient

SPARE_S = 2  # so many seconds' images a gateway takes in advance, or twice what was asked for last
UNUSED_S = 2.0  # after which it gives them back


class Budget:
    """One key's images.

    Attributes:
      images_per_minute: how many it may have drawn.
    """

    def __init__(self, key: str, images_per_minute: int, commons: "CommonsClient", clock: Callable[[], float]):
        self.images_per_minute = images_per_minute
        self._key = key
        self._commons = commons
        self._clock = clock
        self._own = Bucket(images_per_minute, clock)  # what this gateway may, if there were no other
        self._others = Bucket(images_per_minute, clock)  # what the ledger had left, when it was asked last
        self._credit = 0
        self._spare = 0
        self._used_at = clock()
        self._asking: asyncio.Task[None] | None = None

    @property
    def left(self) -> float:
        """Images that may be drawn now, as far as is known here."""
        return min(self._own.left, self._credit + self._others.left)

    @property
    def full_in_s(self) -> float:
        """Seconds until a whole minute's images are there again."""
        return (self.images_per_minute - self.left) * 60 / self.images_per_minute

    async def take(self, num_images: int) -> None:
        """Takes images; asks the ledger only where there is not enough credit.

        Raises:
          Overloaded: they are not there yet; says when they will be.
          InvalidValue: they are more than it ever holds.
        """
        if num_images > self.images_per_minute:
            raise InvalidValue(
                f"This key may have {self.images_per_minute} images drawn in a minute, and this request wants "
                f"{num_images}; ask for fewer at a time (n, best_of).",
                "n",
            )
        self._used_at = self._clock()
        if num_images > self._own.left:
            self._refuse(num_images)
        while num_images > self._credit:  # others may have taken it while it came
            given = await self._ask(num_images - self._credit)
            if given is None:
                break
            if not given:
                self._refuse(num_images)
        self._credit = max(0, self._credit - num_images)
        self._own.take(num_images)
        self._spare = max(SPARE_S * self.images_per_minute // 60, 2 * num_images)
        if self._commons.is_shared and self._credit < self._spare // 2 and self._asking is None:
            self._asking = asyncio.create_task(self._stock_up())

    def give_back(self, num_images: int) -> None:
        """Puts back what was taken for nothing."""
        self._own.put(num_images)
        if self._commons.is_shared:
            self._credit += num_images  # until it has not been used for a while
        else:
            self._commons.give_back_here(self._key, num_images)
            self._others.put(num_images)

    async def rest(self) -> None:
        """Gives the ledger back what has not been used for a while; to be called about once a second."""
        if self._credit and self._clock() - self._used_at >= UNUSED_S:
            unused, self._credit = self._credit, 0
            await self._commons.give_back(self._key, unused)

    async def _ask(self, needed: int) -> int | None:
        """Gets what is needed, or nothing, and more where there is enough; None where nobody knows."""
        spare = self._spare if self._commons.is_shared else 0
        credit = await self._commons.credit(self._key, self.images_per_minute, needed, spare)
        if credit is None:
            return None
        self._credit += credit.images
        self._others = Bucket(self.images_per_minute, self._clock)
        self._others.take(self.images_per_minute - credit.left)
        return credit.images

    async def _stock_up(self) -> None:
        try:
            await self._ask(0)
        finally:
            self._asking = None

    def _refuse(self, num_images: int) -> None:
        own_s, others_s = self._own.seconds_to(num_images), self._others.seconds_to(num_images - self._credit)
        retry_after_s = whole_seconds(max(own_s, others_s))
        raise Overloaded(
            f"This key may have {self.images_per_minute} images drawn in a minute; there is room for {int(self.left)} "
            f"now, and this request wants {num_images}. Try again in {retry_after_s} s.",
            retry_after_s,
        )


class Quotas:
    """The budgets of all keys that have asked here."""

    def __init__(self, commons: "CommonsClient", clock: Callable[[], float] = time.monotonic):
        self._commons = commons
        self._clock = clock
        self._budgets: dict[str, Budget] = {}

    def budget(self, key: str, images_per_minute: int) -> Budget:
        """The budget of a key; a new one where it may have more or less than before."""
        budget = self._budgets.get(key)
        if budget is None or budget.images_per_minute != images_per_minute:
            budget = self._budgets[key] = Budget(key, images_per_minute, self._commons, self._clock)
        return budget

    async def rest(self) -> None:
        """Gives back what no key uses; to be called about once a second."""
        for budget in list(self._budgets.values()):
            await budget.rest()


def duration(seconds: float) -> str:
    """A time as OpenAI's headers say it: 20ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(1000 * seconds)}ms" if seconds else "0s"
    whole = math.ceil(seconds)
    return f"{whole}s" if whole < 60 else f"{whole // 60}m{whole % 60}s"
