"""Exceptions become HTTP replies in one table; the envelope is OpenAI's, and no traceback leaves the service.

What Serve's proxy answers by itself goes through `proxy.py`, with the statuses from here.
"""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.api.addresses import Addresses, hint
from deployments.errors import (
    AccessDenied,
    BatchesUnavailable,
    ContentRefused,
    DeadlineExceeded,
    InvalidKey,
    MissingParameter,
    NotFound,
    Overloaded,
    ShuttingDown,
    StageFailed,
    StageUnavailable,
    UnknownParameter,
    UrlsUnavailable,
)
from model_core.errors import InvalidValue, ModelNotFound

logger = logging.getLogger("ray.serve")

METHODS = ("DELETE", "GET", "POST")  # that some address here takes
RETRY_AFTER_S = 5  # where the error itself does not know better

# The first line that fits counts.  exception → status, type, code
# An InvalidValue is the caller's fault wherever it comes from, so those of a stage never come here: `flow/calls.py`
# makes a StageFailed of them.
TABLE: list[tuple[type[Exception], int, str, str]] = [
    (MissingParameter, 400, "invalid_request_error", "missing_required_parameter"),
    (UnknownParameter, 400, "invalid_request_error", "unknown_parameter"),
    (ContentRefused, 400, "invalid_request_error", "content_policy_violation"),
    (InvalidValue, 400, "invalid_request_error", "invalid_value"),
    (InvalidKey, 401, "invalid_request_error", "invalid_api_key"),
    (AccessDenied, 403, "permission_error", "access_denied"),
    (ModelNotFound, 404, "invalid_request_error", "model_not_found"),
    (NotFound, 404, "invalid_request_error", "not_found"),
    (DeadlineExceeded, 408, "timeout_error", "request_timeout"),
    (Overloaded, 429, "rate_limit_error", "rate_limit_exceeded"),
    (StageFailed, 500, "server_error", "stage_failed"),
    (ShuttingDown, 503, "service_unavailable_error", "shutting_down"),
    (StageUnavailable, 503, "service_unavailable_error", "stage_unavailable"),
    (UrlsUnavailable, 503, "service_unavailable_error", "urls_unavailable"),
    (BatchesUnavailable, 503, "service_unavailable_error", "batches_unavailable"),
]
# What the router, the bodies' readers and Serve's proxy answer.  status → type, code
STATUSES: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "invalid_request"),
    404: ("invalid_request_error", "not_found"),
    405: ("invalid_request_error", "method_not_allowed"),
    408: ("timeout_error", "request_timeout"),
    413: ("invalid_request_error", "body_too_large"),
    415: ("invalid_request_error", "unsupported_media_type"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", "internal_error"),
    503: ("service_unavailable_error", "service_unavailable"),
}
# Headers that a status always has. OpenAI's clients repeat a 408 by themselves, which would only take as long again.
HEADERS: dict[int, dict[str, str]] = {
    401: {"www-authenticate": "Bearer"},
    408: {"x-should-retry": "false"},
    429: {"retry-after": str(RETRY_AFTER_S)},
    503: {"retry-after": str(RETRY_AFTER_S)},
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets for an error."""

    status: int
    message: str
    kind: str
    code: str
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def envelope(self) -> dict[str, Any]:
        """The error as OpenAI's clients read it."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error | self.more}

    def response(self) -> JSONResponse:
        """The same as a reply."""
        headers = HEADERS.get(self.status, {}) | self.headers
        return JSONResponse(self.envelope, status_code=self.status, headers=headers)


def answer_to(error: Exception) -> Answer:
    """What a client gets for an error; of unforeseen ones only that they happened."""
    for exception, status, kind, code in TABLE:
        if isinstance(error, exception):
            param = "model" if isinstance(error, ModelNotFound) else getattr(error, "param", None)
            headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, Overloaded) else {}
            refused = isinstance(error, ContentRefused)
            more = {"moderation_details": error.moderation_details} if refused else {}
            return Answer(status, str(error), kind, code, param, headers, more)
    if isinstance(error, HTTPException):
        return answer_with(error.status_code, error.detail, dict(error.headers or {}))
    return answer_with(500, "The service failed unexpectedly. Its log tells more.")


def answer_with(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    """What a client gets where there is only a status."""
    kind, code = STATUSES.get(status, STATUSES[500 if status >= 500 else 400])
    return Answer(status, message, kind, code, headers=headers or {})


def late_error(error: Exception) -> dict[str, Any]:
    """The envelope of an error after a stream began; logs what nobody foresaw."""
    answer = answer_to(error)
    if answer.status >= 500:
        logger.error("a stream failed", exc_info=error)
    return answer.envelope


def install(app: FastAPI) -> None:
    """Makes every error of the app, the router's and unforeseen ones included, answer in the envelope.

    And has every address understood that `Addresses` understands.
    """
    for exception in (*(line[0] for line in TABLE), HTTPException):
        app.add_exception_handler(exception, _handle)
    app.add_middleware(Addresses)
    app.add_middleware(Outermost)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, HTTPException) and error.status_code in (404, 405):
        return _no_route(request, error).response()
    answer = answer_to(error)
    if answer.status == 500:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    elif answer.status in (408, 429, 503):
        logger.warning("%s %s: %s", request.method, request.url.path, error)
    return answer.response()


def _no_route(request: Request, error: HTTPException) -> Answer:
    if meant := hint(request.url.path):
        return answer_with(404, meant)
    if error.status_code == 405:
        routes = request.app.routes  # of which the first that knows the address has said its own methods alone
        allowed = ", ".join(
            method
            for method in METHODS
            if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
        )
        return answer_with(405, f"{request.method} is not allowed here, but {allowed}.", {"allow": allowed})
    return answer_with(404, "There is no such page here. /docs lists what there is.", dict(error.headers or {}))


class Outermost:
    """Answers what nobody caught, and logs it; says in each reply how long it took, and what the caller is told.

    A middleware, since Starlette raises an error again after its handler for `Exception` has answered.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the app; an error before the reply has begun becomes a 500 in the envelope."""
        started = time.monotonic()
        begun = False
        scope.setdefault("state", {})  # where `Keys` leaves the caller, whatever becomes of the scope on the way

        async def watched_send(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers["openai-processing-ms"] = str(round(1000 * (time.monotonic() - started)))
                headers["x-content-type-options"] = "nosniff"
                if (caller := scope["state"].get("caller")) is not None:
                    headers.update(caller.headers())
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except ClientDisconnect:
            return  # nobody is left to answer
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise
            request = Request(scope)
            logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
            request_id = request.headers.get("x-request-id", "unknown")[:128]
            message = f"The service failed unexpectedly. Its log tells more under the request id {request_id!a}."
            await answer_with(500, message).response()(scope, receive, watched_send)
