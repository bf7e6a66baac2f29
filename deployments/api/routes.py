"""The HTTP app in front of the gateway: its routes, none of which does more than hand over.

Serve's proxy puts `x-request-id` on every reply, the caller's own where it sent one.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from deployments.api import errors
from deployments.api.batches import Batches, batch_routes
from deployments.api.card_page import CARD_POLICY, card_page
from deployments.api.demo import demo_routes
from deployments.api.docs_page import docs_page
from deployments.api.images import image_routes
from deployments.api.keys import Keys
from deployments.api.openapi import document
from deployments.gateway.caller import CACHE_HEADER, LIMIT_HEADERS, Caller
from deployments.gateway.gateway import Gateway
from deployments.web.page import mount_page


def build_api(service: Gateway) -> FastAPI:
    """Makes the HTTP app in front of a service.

    Raises:
      DalleServeError: the API keys cannot be read.
    """
    keys = Keys(service.config.access, service.quotas)
    service.on_change(lambda config: keys.use(config.access))
    batches = Batches(service)
    api = FastAPI(
        title="dalle-serve",
        openapi_url=None,
        docs_url=None,  # FastAPI's own pages would fetch their scripts from somewhere else
        redoc_url=None,
        redirect_slashes=False,
        lifespan=batches.lifespan,
        telemetry={"tracing": False},  # Serve traces requests; FastAPI would begin another trace in the middle
    )
    if origins := service.config.access.cors_origins:
        shown = ["x-request-id", "retry-after", "openai-processing-ms", CACHE_HEADER, *LIMIT_HEADERS]
        api.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"], expose_headers=shown
        )
    errors.install(api)
    for make_routes in (demo_routes, _model_routes, _state_routes):
        api.include_router(make_routes(service, keys))
    for make_routes in (image_routes, batch_routes):
        api.include_router(make_routes(service, keys, batches))
    mount_page(api)
    return api


def _model_routes(service: Gateway, keys: Keys) -> APIRouter:
    router = APIRouter(dependencies=[Depends(keys)])

    @router.get("/v1/models")
    async def list_models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": service.list_models()})

    @router.get("/v1/models/{name:path}")
    async def retrieve_model(name: str) -> JSONResponse:
        return JSONResponse(service.describe_model(name))

    @router.get("/v1/usage")
    async def usage(caller: Annotated[Caller, Depends(keys)]) -> JSONResponse:
        return JSONResponse(await service.usage(caller))

    @router.get("/cards/{name:path}")
    async def model_card(name: str) -> HTMLResponse:
        card = await service.card(name)
        if card is None:
            raise HTTPException(404)
        return HTMLResponse(card_page(name, card), headers={"content-security-policy": CARD_POLICY})

    @router.get("/known/{name:path}")
    async def known_pictures(name: str) -> FileResponse:
        path = service.known_pictures(name)
        if path is None:
            raise HTTPException(404)
        return FileResponse(path, media_type="image/webp")

    return router


def _state_routes(service: Gateway, keys: Keys) -> APIRouter:
    """Open to all, keys or not: what load balancers and readers of the documentation ask for."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @router.get("/ready")
    async def ready() -> JSONResponse:
        state = await service.readiness()
        if state["ready"]:
            return JSONResponse(state)
        return JSONResponse(state, status_code=503, headers={"retry-after": str(errors.RETRY_AFTER_S)})

    @router.get("/openapi.json")
    async def openapi() -> JSONResponse:
        return JSONResponse(document(service.config.limits, bool(keys.keys)))

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(document(service.config.limits, bool(keys.keys))))

    return router
