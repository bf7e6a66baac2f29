"""What a method and an address mean, before the routes look at them; and what to say of an address that is none."""

import re
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.requests.parsing import plain

# What the end of an address means under /v1: most often, a client's base URL lacks it, or has something else.
_MEANT = re.compile(r"/(?:images/(?:generations|edits|variations)|(?:models|files|batches)(?:/.+)?)$")


class Addresses:
    """HEAD is GET without a body, wherever GET is; slashes beyond the first, and one at the end, mean nothing."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**scope, **_address(scope)}
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_head)


def _address(scope: Scope) -> dict[str, str | bytes]:
    """The address without slashes that mean nothing; those that are part of a name (%2F) are kept."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        return {}
    short = re.sub(rb"/{2,}", b"/", raw)
    if short.rstrip(b"/").decode("latin-1") != scope.get("root_path", "").rstrip("/"):
        short = short.rstrip(b"/")
    return {} if short == raw else {"raw_path": short, "path": unquote(short.decode("latin-1"))}


def hint(path: str) -> str | None:
    """What was meant by an address that is none; None where nobody can say."""
    found = _MEANT.search(path)
    if found is None or (meant := f"/v1{found[0]}") == path:
        return None
    return f"There is no {plain(path)} here, but {plain(meant)}: the base URL that a client is given ends in /v1."
