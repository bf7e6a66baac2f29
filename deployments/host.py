"""This machine, as those who run a service on it see it: its addresses, ports and signals."""

import contextlib
import ipaddress
import signal
import socket
from collections.abc import Iterator


def is_loopback(host: str) -> bool:
    """True if nobody but this machine can reach what listens on `host`."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except socket.gaierror:
        return False
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def is_free(host: str, port: int) -> bool:
    """True if a service could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM interrupts what goes on; later ones must not interrupt the cleaning up."""
    interrupted = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
