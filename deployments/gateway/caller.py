"""Who asks, and how: a key's class and budget, and what the request's head says of keeping results."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deployments.gateway.quotas import Budget, duration
from model_core.errors import InvalidValue

CACHE_HEADER = "x-dalle-serve-cache"
LIMIT_HEADERS = tuple(f"x-ratelimit-{what}-images" for what in ("limit", "remaining", "reset"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What an API key may do.

    Attributes:
      digest: its SHA-256; of the key itself nothing is kept.
      name: what metrics and its own usage call it.
      images_per_minute: how many it may have drawn; None sets no limit.
      is_batch: all that it asks for is batch work.
    """

    digest: bytes
    name: str
    images_per_minute: int | None = None
    is_batch: bool = False


class Caller:
    """Somebody who was let in; by default a program of the operator's own.

    Attributes:
      name: of his key; "" without keys.
      scope: the same for all requests of one key, and of no other; "" without keys.
      budget: of his key; None where there is no limit.
      may_find: whether he may be answered with what was drawn before.
      may_keep: whether what is drawn for him may be kept, and shared while it is being drawn.
      cache: how he got his images, once that is known: `hit`, `joined` or `miss`; "" where nothing was looked up.

    Args:
      cache_control: the header of that name.
    """

    def __init__(self, key: Key | None = None, budget: Budget | None = None, cache_control: str = ""):
        self._key = key
        self.name = key.name if key else ""
        self.scope = key.digest.hex() if key else ""
        self.budget = budget
        self._charged = 0
        said = {part.strip().lower() for part in cache_control.split(",")}
        self.may_keep = "no-store" not in said
        self.may_find = self.may_keep and not said & {"no-cache", "max-age=0"}
        self.cache = ""

    def asks_for_batch(self, priority: str | None) -> bool:
        """Whether a request of that `priority` is batch work; without one, as the key is.

        Raises:
          InvalidValue: it asks for more than the key may.
        """
        is_batch = self._key is not None and self._key.is_batch
        if is_batch and priority == "interactive":
            raise InvalidValue("This key is for batch work: leave priority out, or set it to 'batch'.", "priority")
        return is_batch or priority == "batch"

    async def charge(self, num_images: int) -> None:
        """Takes so many images from the caller's budget; raises as `Budget.take` does."""
        if self.budget is not None:
            await self.budget.take(num_images)
            self._charged += num_images

    @contextmanager
    def settling(self) -> Iterator[None]:
        """Gives back what was charged where nothing comes of the request. Who leaves pays: they were being drawn."""
        try:
            yield
        except Exception:  # whichever, it is raised again; a cancellation is none of them
            if self.budget is not None:
                self.budget.give_back(self._charged)
                self._charged = 0
            raise

    def headers(self) -> dict[str, str]:
        """What the head of his reply says."""
        said = {CACHE_HEADER: self.cache} if self.cache else {}
        if self.budget is not None:
            limits = self.budget.images_per_minute, int(self.budget.left), duration(self.budget.full_in_s)
            said |= dict(zip(LIMIT_HEADERS, map(str, limits), strict=True))
        return said
