"""A stage's health: one that computed numbers that are not finite is not well any more."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from model_core.errors import NotFinite


class Health:
    """Remembers whether what it watched raised `NotFinite`."""

    def __init__(self) -> None:
        self._failure = ""

    def watched(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, watched."""

        @wraps(compute)
        def compute_watched(*args: Any) -> Any:
            try:
                return compute(*args)
            except NotFinite as error:
                self._failure = str(error)
                raise

        return compute_watched

    def check(self) -> None:
        """Returns where all was well so far; to be called by Serve, which else replaces the replica.

        Raises:
          NotFinite: something was not finite.
        """
        if self._failure:
            raise NotFinite(self._failure)
