"""Who asks, and how: a key's budget of images, and what the request's head says of keeping results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.errors import Overloaded
from deployments.gateway.admission import whole_seconds
from model_core.errors import InvalidValue

CACHE_HEADER = "x-dalle-serve-cache"


class Caller:
    """Somebody who was let in.

    Attributes:
      scope: the same for all requests of one key, and of no other; "" without keys.
      may_find: whether he may be answered with what was drawn before.
      may_keep: whether what is drawn for him may be kept, and shared while it is being drawn.
      cache: how he got his images, once that is known: `hit`, `joined` or `miss`; "" where nothing was looked up.

    Args:
      cache_control: the header of that name.
    """

    def __init__(self, scope: str = "", budget: "Budget | None" = None, cache_control: str = ""):
        self.scope = scope
        self._budget = budget
        self._charged = 0
        said = {part.strip().lower() for part in cache_control.split(",")}
        self.may_keep = "no-store" not in said
        self.may_find = self.may_keep and not said & {"no-cache", "max-age=0"}
        self.cache = ""

    async def charge(self, num_images: int) -> None:
        """Takes so many images from the caller's budget.

        Raises:
          Overloaded: they are not there yet; says when they will be.
          InvalidValue: they are more than the budget ever holds.
        """
        if self._budget is not None:
            self._budget.take(num_images)
            self._charged += num_images

    @contextmanager
    def settling(self) -> Iterator[None]:
        """Gives back what was charged where nothing comes of the request. Who leaves pays: they were being drawn."""
        try:
            yield
        except Exception:
            if self._budget is not None:
                self._budget.give_back(self._charged)
                self._charged = 0
            raise

    def headers(self) -> dict[str, str]:
        """What the head of his reply says."""
        return {CACHE_HEADER: self.cache} if self.cache else {}


class Budget:
    """A bucket that holds a minute's images and fills up evenly."""

    def __init__(self, images_per_minute: int, clock: Callable[[], float]):
        self.images_per_minute = images_per_minute
        self._clock = clock
        self._left = float(images_per_minute)
        self._filled_at = clock()

    def take(self, num_images: int) -> None:
        """Takes images; raises as `Caller.charge` does."""
        if num_images > self.images_per_minute:
            raise InvalidValue(
                f"This key may have {self.images_per_minute} images drawn in a minute, and this request wants "
                f"{num_images}; ask for fewer at a time (n, best_of).",
                "n",
            )
        now = self._clock()
        a_second = self.images_per_minute / 60
        self._left = min(self.images_per_minute, self._left + (now - self._filled_at) * a_second)
        self._filled_at = now
        if num_images > self._left:
            left, retry_after_s = int(self._left), whole_seconds((num_images - self._left) / a_second)
            raise Overloaded(
                f"This key may have {self.images_per_minute} images drawn in a minute; there is room for {left} now, "
                f"and this request wants {num_images}. Try again in {retry_after_s} s.",
                retry_after_s,
            )
        self._left -= num_images

    def give_back(self, num_images: int) -> None:
        """Puts back what was taken for nothing."""
        self._left += num_images
