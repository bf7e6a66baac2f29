"""Who may ask, and for how many images: API keys, compared in constant time, each with its class and its budget.

Without keys only this machine is answered, unless the settings say otherwise.
"""

import base64
import hashlib
import hmac
import ipaddress
import os
import re
import time
from collections.abc import Callable
from typing import Any

from fastapi import Request

from deployments.config import AccessConfig
from deployments.errors import AccessDenied, InvalidKey
from deployments.gateway.caller import Caller, Key
from deployments.gateway.quotas import Quotas
from deployments.gateway.watched_file import WatchedFile
from deployments.host import is_loopback
from model_core.errors import DalleServeError

KEYS_VARIABLE = "DALLE_SERVE_API_KEYS"  # the same lines as in the file, or separated by commas
MIN_KEY_CHARS = 16
_WHAT_KEYS_ARE = (
    f" is no key: each is at least {MIN_KEY_CHARS} characters without spaces, and may be followed by its images a "
    "minute (a whole number from 1 up), by `interactive` or `batch`, and by name=NAME (letters, digits, '.', '_', '-')."
)
_NUMBER = re.compile(r"[0-9]{1,20}")
_NAME = re.compile(r"name=([A-Za-z0-9._-]{1,64})")


class Keys:
    """The keys of a service, from a file or the environment.

    Args:
      config: where the file is, and who is let in without keys.
      quotas: the budgets of keys; None where nobody draws.

    Raises:
      DalleServeError: the file cannot be read, or a line of it is no key.
    """

    def __init__(self, config: AccessConfig, quotas: Quotas | None = None, clock: Callable[[], float] = time.monotonic):
        self._config = config
        self._quotas = quotas
        self._clock = clock
        self._file = None if config.keys_file is None else WatchedFile(config.keys_file, read_keys, clock)
        self._fixed = read_keys(os.environ.get(KEYS_VARIABLE, "").replace(",", "\n"), may_be_empty=True)

    def use(self, config: AccessConfig) -> None:
        """Lets in whom other settings let in, from now on.

        Raises:
          DalleServeError: their file cannot be read; nothing has changed.
        """
        file = self._file
        if config.keys_file != self._config.keys_file:
            file = None if config.keys_file is None else WatchedFile(config.keys_file, read_keys, self._clock)
        self._config, self._file = config, file

    @property
    def keys(self) -> list[Key]:
        """All that are valid now."""
        return self._fixed + (self._file.content if self._file else [])

    async def __call__(self, request: Request) -> Caller:
        """Lets a caller in; the routes depend on it. What is to be told of him goes into the head of the reply.

        Raises:
          InvalidKey: there are keys, and the caller sent none or a wrong one.
          AccessDenied: there are none, and the caller is another machine.
        """
        request.state.caller = caller = self._let_in(request)
        return caller

    def _let_in(self, request: Request) -> Caller:
        keys, cache_control = self.keys, request.headers.get("cache-control", "")
        if not keys:
            if not self._config.allow_remote and not _is_this_machine(request):
                raise AccessDenied(
                    "This service has no API keys and answers its own machine only. Its operator can give it keys "
                    "(access.keys_file), or let everybody in (access.allow_remote)."
                )
            return Caller(cache_control=cache_control)
        digest = hashlib.sha256(_sent_key(request).encode("utf-8", "surrogateescape")).digest()
        found = None
        for key in keys:  # all of them, so that the time says nothing
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            # OpenAI's words, by which LiteLLM knows that the key is the trouble, and not the request.
            raise InvalidKey("Incorrect API key provided, or none: send 'Authorization: Bearer <key>'.")
        rate = found.images_per_minute or self._config.images_per_minute
        budget = self._quotas.budget(found.digest.hex(), rate) if rate and self._quotas else None
        return Caller(found, budget, cache_control)


def read_keys(text: str, *, may_be_empty: bool = False) -> list[Key]:
    """Reads lines of a key and what it may, in any order: its images a minute, `interactive` or `batch`, `name=NAME`.

    Empty lines and those that start with `#` are skipped.

    Raises:
      DalleServeError: a line is something else, or there is no key; a message never shows a key.
    """
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            keys.append(_read_key(*words))
        except ValueError as error:
            raise DalleServeError(f"line {number}{error}") from None
    if not keys and not may_be_empty:
        raise DalleServeError("there is no key in it.")  # an empty file must not open the door
    return keys


def _read_key(key: str, *words: str) -> Key:
    digest = hashlib.sha256(key.encode()).digest()
    may: dict[str, Any] = {}
    for word in words:
        if _NUMBER.fullmatch(word):
            said: dict[str, Any] = {"images_per_minute": int(word)}
            if not 0 < int(word) < 10**9:
                raise ValueError(": the images a minute must be a whole number from 1 up.")
        elif word in ("interactive", "batch"):
            said = {"is_batch": word == "batch"}
        elif name := _NAME.fullmatch(word):
            said = {"name": name[1]}
        else:
            raise ValueError(_WHAT_KEYS_ARE)
        if said.keys() & may.keys():
            raise ValueError(_WHAT_KEYS_ARE)
        may |= said
    if len(key) < MIN_KEY_CHARS:
        raise ValueError(_WHAT_KEYS_ARE)
    return Key(**{"digest": digest, "name": digest.hex()[:8]} | may)


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
