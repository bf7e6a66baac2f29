"""Who may ask, and for how many images: API keys, compared in constant time, and a budget of images for each.

Without keys only this machine is answered, unless the settings say otherwise.
"""

import base64
import hashlib
import hmac
import ipaddress
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import Request

from deployments.config import AccessConfig
from deployments.errors import AccessDenied, InvalidKey, Overloaded
from deployments.gateway.admission import whole_seconds
from deployments.gateway.watched_file import WatchedFile
from deployments.host import is_loopback
from model_core.errors import DalleServeError, InvalidValue

KEYS_VARIABLE = "DALLE_SERVE_API_KEYS"  # the same lines as in the file, or separated by commas
MIN_KEY_CHARS = 16


@dataclass(frozen=True, slots=True)
class Key:
    """A key's SHA-256, and how many images it may have drawn in a minute; None sets no limit."""

    digest: bytes
    images_per_minute: int | None


class Keys:
    """The keys of a service, from a file or the environment.

    Args:
      config: where the file is, and who is let in without keys.

    Raises:
      DalleServeError: the file cannot be read, or a line of it is no key.
    """

    def __init__(self, config: AccessConfig, clock: Callable[[], float] = time.monotonic):
        self._config = config
        self._clock = clock
        self._file = None if config.keys_file is None else WatchedFile(config.keys_file, read_keys, clock)
        self._fixed = read_keys(os.environ.get(KEYS_VARIABLE, "").replace(",", "\n"), may_be_empty=True)
        self._budgets: dict[bytes, _Budget] = {}

    @property
    def keys(self) -> list[Key]:
        """All that are valid now."""
        return self._fixed + (self._file.content if self._file else [])

    async def __call__(self, request: Request) -> "Caller":
        """Lets a caller in; the routes depend on it.

        Raises:
          InvalidKey: there are keys, and the caller sent none or a wrong one.
          AccessDenied: there are none, and the caller is another machine.
        """
        keys = self.keys
        if not keys:
            if not self._config.allow_remote and not _is_this_machine(request):
                raise AccessDenied(
                    "This service has no API keys and answers its own machine only. Its operator can give it keys "
                    "(access.keys_file), or let everybody in (access.allow_remote)."
                )
            return Caller(None)
        digest = hashlib.sha256(_sent_key(request).encode("utf-8", "surrogateescape")).digest()
        found = None
        for key in keys:  # all of them, so that the time says nothing
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            # OpenAI's words, by which LiteLLM knows that the key is the trouble, and not the request.
            raise InvalidKey("Incorrect API key provided, or none: send 'Authorization: Bearer <key>'.")
        return Caller(self._budget(found), found.digest.hex())

    def _budget(self, key: Key) -> "_Budget | None":
        rate = key.images_per_minute or self._config.images_per_minute
        if rate is None:
            return None
        budget = self._budgets.get(key.digest)
        if budget is None or budget.images_per_minute != rate:
            budget = self._budgets[key.digest] = _Budget(rate, self._clock)
        return budget


class Caller:
    """Somebody who was let in.

    Attributes:
      scope: the same for all requests of one key, and of no other; "" without keys.
    """

    def __init__(self, budget: "_Budget | None", scope: str = ""):
        self._budget = budget
        self.scope = scope

    @contextmanager
    def charged(self, num_images: int) -> Iterator[None]:
        """Takes so many images from the caller's budget, and gives them back where nothing comes of the request.

        Who leaves pays: the images were being drawn.

        Raises:
          Overloaded: they are not there yet; says when they will be.
          InvalidValue: they are more than the budget ever holds.
        """
        if self._budget is None:
            yield
            return
        self._budget.take(num_images)
        try:
            yield
        except Exception:
            self._budget.give_back(num_images)
            raise


class _Budget:
    """A bucket that holds a minute's images and fills up evenly."""

    def __init__(self, images_per_minute: int, clock: Callable[[], float]):
        self.images_per_minute = images_per_minute
        self._clock = clock
        self._left = float(images_per_minute)
        self._filled_at = clock()

    def take(self, num_images: int) -> None:
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
        self._left += num_images


def read_keys(text: str, *, may_be_empty: bool = False) -> list[Key]:
    """Reads `KEY` or `KEY IMAGES_A_MINUTE` lines; empty ones and those that start with `#` are skipped.

    Raises:
      DalleServeError: a line is something else, or there is no key; a message never shows a key.
    """
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) > 2 or len(words[0]) < MIN_KEY_CHARS:
            raise DalleServeError(
                f"line {number} is no key: each is at least {MIN_KEY_CHARS} characters without spaces, and may be "
                "followed by its images a minute."
            )
        if len(words) == 2 and not (words[1].isascii() and words[1].isdigit() and 0 < int(words[1]) < 10**9):
            raise DalleServeError(f"line {number}: the images a minute must be a whole number from 1 up.")
        keys.append(Key(hashlib.sha256(words[0].encode()).digest(), int(words[1]) if len(words) == 2 else None))
    if not keys and not may_be_empty:
        raise DalleServeError("there is no key in it.")  # an empty file must not open the door
    return keys


def check_exposure(host: str, access: AccessConfig) -> None:
    """For those who start a service: refuses an address that other machines reach while nobody needs a key.

    Raises:
      DalleServeError: there are neither keys nor `allow_remote`; says what to do.
    """
    if is_loopback(host) or access.allow_remote or Keys(access).keys:
        return
    raise DalleServeError(
        f"{host} can be reached from other machines, and there are no API keys. Name a file of keys "
        f"(access.keys_file, or {KEYS_VARIABLE} in the environment), or add --allow-remote (access.allow_remote)."
    )


def _sent_key(request: Request) -> str:
    """The key of an `Authorization` header: a bearer's, or the password (else the user) of HTTP Basic."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
        except ValueError:  # no base64, or no text in it
            return ""
        return password or user
    return ""


def _is_this_machine(request: Request) -> bool:
    """True for a loopback address, and where the server says nothing of the client (a Unix socket)."""
    if request.client is None:
        return True
    try:
        address = ipaddress.ip_address(request.client.host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
