"""Exceptions become HTTP replies in one table; the envelope is OpenAI's, and no traceback leaves the service.

Knows nothing of routes.
"""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import DeadlineExceeded, MissingParameter, Overloaded, StageUnavailable, UnknownParameter
from model_core.errors import InvalidValue, ModelNotFound

logger = logging.getLogger("ray.serve")

RETRY_AFTER_S = 5  # where the error itself does not know better

# The first line that fits counts.  exception → status, type, code
TABLE: list[tuple[type[Exception], int, str, str]] = [
    (MissingParameter, 400, "invalid_request_error", "missing_required_parameter"),
    (UnknownParameter, 400, "invalid_request_error", "unknown_parameter"),
    (InvalidValue, 400, "invalid_request_error", "invalid_value"),
    (ModelNotFound, 404, "invalid_request_error", "model_not_found"),
    (DeadlineExceeded, 408, "timeout_error", "request_timeout"),
    (Overloaded, 429, "rate_limit_error", "rate_limit_exceeded"),
    (StageUnavailable, 503, "service_unavailable_error", "stage_unavailable"),
]
HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}
RETRYABLE = {408, 429, 503}


def install(app: FastAPI) -> None:
    """Makes every error of the app, the router's and unforeseen ones included, answer in the envelope."""
    for exception, status, kind, code in TABLE:
        app.add_exception_handler(exception, _handler(status, kind, code))
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Unforeseen)


def envelope(
    status: int, message: str, kind: str, code: str, param: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error as OpenAI's clients read it."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": error}, status_code=status, headers=headers)


def _handler(status: int, kind: str, code: str) -> Any:
    async def answer(request: Request, error: Exception) -> JSONResponse:
        param = "model" if isinstance(error, ModelNotFound) else getattr(error, "param", None)
        headers = {}
        if status in RETRYABLE:
            headers["retry-after"] = str(getattr(error, "retry_after_s", RETRY_AFTER_S))
            logger.warning("%s %s: %s", request.method, request.url.path, error)
        return envelope(status, str(error), kind, code, param, headers)

    return answer


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    messages = {
        404: "There is no such page here. Known: /v1/images/generations, /v1/models, /health, /ready, /openapi.json.",
        405: f"{request.method} is not allowed here.",
    }
    status = error.status_code
    message = messages.get(status, error.detail)
    code = HTTP_CODES.get(status, "invalid_request")
    return envelope(status, message, "invalid_request_error", code, headers=dict(error.headers or {}))


class Unforeseen:
    """Answers what nobody caught, and logs it.

    A middleware, since Starlette raises an error again after its handler for `Exception` has answered.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the app; an error before the reply has begun becomes a 500 in the envelope."""
        begun = False

        async def watched_send(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
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
            request_id = request.headers.get("x-request-id", "unknown")
            message = f"The service failed unexpectedly. Its log tells more under the request id {request_id!a}."
            await envelope(500, message, "server_error", "internal_error")(scope, receive, send)
