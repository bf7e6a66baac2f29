"""What Serve's HTTP proxy answers by itself, in the envelope that the service's own errors have.

The proxy answers in plain text where it cannot reach a gateway: no application (404), its timeout (408), full queues
(429, 503), a gateway that died under the request (nothing at all). Serve loads this module in each proxy because
`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names `middlewares`; the same call sees to how the proxy reads connections
(`connections.py`). In HAProxy mode the gateways listen themselves, with this around them; what HAProxy answers is
beyond its reach.
"""

import logging
import re
import uuid

import uvicorn.config
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.connections import Http1
from deployments.api.errors import answer_with

logger = logging.getLogger("ray.serve")

IMPORT_PATH = "deployments.api.proxy:middlewares"
REQUEST_ID = "x-request-id"
# By these a caller would lift the deadline, outlive its own disconnect, or choose among models that Serve multiplexes.
SERVE_HEADERS = ("x-request-timeout-seconds", "x-request-disconnect-disabled", "serve_multiplexed_model_id")
MESSAGES = {
    404: "There is no application at this address, or it has not started yet.",
    408: "The request took too long and was stopped.",
    429: "The service is busy. Try again later.",
    503: "The service cannot answer just now. Try again later.",
}
_SAFE_ID = re.compile(r"[\x21-\x7e]{1,128}")


def middlewares() -> list[Middleware]:
    """What Serve puts around its proxy; called in the proxy's process before it listens, which it does by `Http1`."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{Http1.__module__}:{Http1.__name__}"
    return [Middleware(Envelope)]


class Envelope:
    """Around the proxy: keeps request ids sane, strips Serve's own request headers, and wraps its plain answers."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the proxy for one request."""
        if scope["type"] != "http" or scope["path"].startswith("/-/"):  # Serve's own routes, for load balancers
            await self._app(scope, receive, send)
            return
        request_id = _clean(scope)
        begun, wrapped = False, False

        async def watched_send(message: Message) -> None:
            nonlocal begun, wrapped
            if message["type"] == "http.response.start":
                begun = True
                wrapped = _is_plain_error(message)
                if wrapped:
                    await _answer(message["status"], Headers(raw=message["headers"]), request_id, scope, receive, send)
                    return
            if not wrapped:
                await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception:  # of whatever Serve raises: a caller gets the envelope all the same
            if begun:
                raise
            logger.exception("the proxy failed under request %s", request_id)
        if not begun:  # the gateway's replica died, or the client left and will not read this
            await _answer(503, Headers({"retry-after": "1"}), request_id, scope, receive, send)


async def _answer(status: int, said: Headers, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
    headers = {REQUEST_ID: request_id}
    if "retry-after" in said:
        headers["retry-after"] = said["retry-after"]
    message = MESSAGES.get(status, "The service failed unexpectedly.")
    await answer_with(status, message, headers).response()(scope, receive, send)


def _clean(scope: Scope) -> str:
    """Takes Serve's headers out of the request; gives its id, the caller's own where that is short and printable."""
    headers = MutableHeaders(scope=scope)
    sent = headers.get(REQUEST_ID, "")
    request_id = sent if _SAFE_ID.fullmatch(sent) else str(uuid.uuid4())
    for name in SERVE_HEADERS:
        for spelling in (name, name.replace("_", "-")):
            del headers[spelling]
    headers[REQUEST_ID] = request_id
    return request_id


def _is_plain_error(message: Message) -> bool:
    return message["status"] >= 400 and Headers(raw=message["headers"]).get("content-type", "").startswith("text/plain")
