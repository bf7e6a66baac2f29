"""How this package asks over HTTP beside locust, which goes through no proxy either."""

import http.client
import urllib.request


def fetch(url: str, timeout_s: float) -> bytes:
    """What is at `url`; asked directly, for a proxy would reach neither this machine nor the nodes of a cluster.

    Raises:
      OSError: no answer, or one that is an error.
    """
    with _opener().open(url, timeout=timeout_s) as reply:
        return reply.read()


def post(url: str, body: bytes, content_type: str, timeout_s: float) -> bytes:
    """Sends `body` to `url`, as directly as `fetch` asks; gives the answer. Raises as it."""
    request = urllib.request.Request(url, body, {"content-type": content_type})
    with _opener().open(request, timeout=timeout_s) as reply:
        return reply.read()


def connection(port: int, timeout_s: float) -> http.client.HTTPConnection:
    """A connection to this machine that stays open from request to request; no proxy lies between."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
