"""What each key has had, as it may ask itself: counted here, and told to the ledger of all gateways."""

import secrets
import time
from collections import Counter

from deployments.gateway.commons import CommonsClient
from deployments.gateway.ledger import Counts, Had

# What is counted of each model; images that were kept, or drawn for somebody else just then, are not drawn again.
USAGE_COUNTS = (
    "requests", "images_drawn", "images_returned", "images_not_drawn_again", "input_tokens", "output_tokens",
)  # fmt: skip
REPORTS_ALL_EVERY = 60  # reports: a ledger that has forgotten everything is told it again


class Usage:
    """The counts of all keys that have asked here, since this gateway started."""

    def __init__(self, commons: CommonsClient):
        self._commons = commons
        self._gateway = secrets.token_hex(8)
        self._counts: dict[str, dict[str, Counter[str]]] = {}
        self._changed: set[str] = set()
        self._num_reports = 0
        self._since = int(time.time())

    def add(self, key: str, model: str, **counts: int) -> None:
        """Counts what a request of a key's has had of a model."""
        self._counts.setdefault(key, {}).setdefault(model, Counter()).update(counts)
        self._changed.add(key)

    async def report(self) -> None:
        """Tells the ledger what has changed; to be called about once a second."""
        self._num_reports += 1
        keys = set(self._counts) if self._num_reports % REPORTS_ALL_EVERY == 0 else self._changed
        self._changed = set()
        if keys and not await self._commons.report(self._gateway, {key: self._of(key) for key in keys}):
            self._changed |= keys

    async def of(self, key: str) -> Had:
        """What a key has had of all gateways, by model."""
        had = await self._commons.usage(key, self._gateway, self._of(key))
        if had is None:
            return Had(self._since, self._of(key))
        return Had(min(had.since, self._since), had.models)

    def _of(self, key: str) -> Counts:
        return {model: dict(counts) for model, counts in self._counts.get(key, {}).items()}
