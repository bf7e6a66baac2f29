"""This machine, as those who run a service on it see it: its addresses and ports, and how it is asked over HTTP."""

import contextlib
import errno
import ipaddress
import os
import socket
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx

Client = TypeVar("Client")


def is_loopback(host: str) -> bool:
    """True if nobody but this machine can reach what listens on `host`."""
    addresses = _addresses(host)
    return bool(addresses) and all(address.is_loopback for address in addresses)


def is_here(host: str) -> bool:
    """True if `host` is this machine, by whichever of its addresses or names."""
    addresses = _addresses(host)
    return bool(addresses) and all(
        address.is_loopback or address.is_unspecified or _is_own(address) for address in addresses
    )


def bind_problem(host: str, port: int) -> str:
    """Why no service can listen there, as a sentence with a remedy; "" where one can."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        return f"{host!r} is no address and no name that this machine knows ({error}). Choose another: --host."
    try:
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        return _explained(error, host, port)
    return ""


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return listener.getsockname()[1]


def url_of(host: str, port: int) -> str:
    """Where what listens on `host` is reached from this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def http_client(url: str, **options: Any) -> "httpx.Client":
    """A client for what listens at `url`; this machine is asked directly, whatever proxies the environment names.

    Args:
      options: of `httpx.Client`.

    Raises:
      httpx.InvalidURL: `url` is no address.
      httpx.UnsupportedProtocol: the environment names a proxy of a kind that is not spoken here.
    """
    import httpx

    return _made(url, lambda **more: httpx.Client(base_url=url, **options, **more), httpx.HTTPTransport)


def async_http_client(url: str, **options: Any) -> "httpx.AsyncClient":
    """The same for coroutines."""
    import httpx

    return _made(url, lambda **more: httpx.AsyncClient(base_url=url, **options, **more), httpx.AsyncHTTPTransport)


def _made(url: str, make: Callable[..., Client], transport: Callable[[], Any]) -> Client:
    import httpx

    if urllib.request.getproxies() and is_here(httpx.URL(url).host):
        return make(transport=transport())
    try:
        return make()
    except (ImportError, ValueError) as error:  # SOCKS, or words that are no URL
        raise httpx.UnsupportedProtocol(f"{error} ({proxy_of(url) or 'no proxy'})") from error


def proxy_of(url: str) -> str:
    """The proxy through which `http_client` asks; "" where it asks directly."""
    parts, proxies = urlsplit(url), urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    bypassed = proxy and (urllib.request.proxy_bypass(parts.netloc) or is_here(parts.hostname or ""))
    return "" if bypassed else proxy


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host or " ", None)}  # an empty name is this machine
    except (socket.gaierror, UnicodeError):
        return []
    addresses = [ipaddress.ip_address(address) for address in found]
    return [getattr(address, "ipv4_mapped", None) or address for address in addresses]


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family) as probe:
        probe.bind((str(address), 0))
        return True
    return False


def _explained(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken. Stop what listens there, or choose another: --port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine. Choose one of its own, or 0.0.0.0 for all: --host."
    if error.errno in (errno.EACCES, errno.EPERM):
        below = ", and ports below 1024 are the administrator's" if port < 1024 else ""
        return f"This user may not listen on port {port} of {host}{below}. Choose another: --port."
    if error.errno == errno.EAFNOSUPPORT:
        return f"This machine has no addresses of the kind of {host}. Choose another: --host."
    return f"Port {port} on {host} cannot be used: {error.strerror or os.strerror(error.errno or 0)}."
