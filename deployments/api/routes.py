"""The HTTP routes: thin, each hands over to the gateway.

Knows nothing of Ray. Serve's proxy puts `x-request-id` on every reply, the caller's own where it sent one.
"""

from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from deployments.api import errors
from deployments.api.body import read_json_object
from deployments.api.schemas import GenerationRequest, wire_reply
from deployments.config import Limits


class Service(Protocol):
    """What the routes need of the gateway."""

    limits: Limits

    async def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        """Draws images."""
        ...

    def list_models(self) -> list[dict[str, Any]]:
        """Describes every model that is served."""
        ...

    def describe_model(self, name: str) -> dict[str, Any]:
        """Describes one model."""
        ...

    async def readiness(self) -> dict[str, Any]:
        """Says how far the stages of the default model are."""
        ...


def build_api(service: Service) -> FastAPI:
    """Makes the HTTP app in front of a service."""
    # No /docs page: it would fetch its scripts from somewhere else.
    api = FastAPI(title="dalle-serve", docs_url=None, redoc_url=None, redirect_slashes=False)
    errors.install(api)

    @api.post("/v1/images/generations", openapi_extra=_json_body(GenerationRequest))
    async def create_images(request: Request) -> JSONResponse:
        fields = await read_json_object(request, service.limits.max_body_bytes)
        return JSONResponse(wire_reply(await service.generate(fields)))

    @api.get("/v1/models")
    async def list_models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": service.list_models()})

    @api.get("/v1/models/{name:path}")
    async def retrieve_model(name: str) -> JSONResponse:
        return JSONResponse(service.describe_model(name))

    @api.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @api.get("/ready")
    async def ready() -> JSONResponse:
        state = await service.readiness()
        if state["ready"]:
            return JSONResponse(state)
        return JSONResponse(state, status_code=503, headers={"retry-after": str(errors.RETRY_AFTER_S)})

    return api


def _json_body(schema: type[GenerationRequest]) -> dict[str, Any]:
    """The OpenAPI description of a body that the route reads by itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema.model_json_schema()}}}}
