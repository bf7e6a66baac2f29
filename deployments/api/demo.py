"""The protocol of the backend that the DALL·E mini demo's front ends talk to: a prompt in, nine pictures out.

`POST /generate {"prompt": …}` → `{"images": [base64, …], "version": …}`, and `GET /version` → `{"version": …}`. A key,
where one is needed, comes as HTTP Basic or as a bearer's.

Provenance: the demo application of the dalle-mini repository.
"""

import base64
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from deployments.api.body import read_json_object
from deployments.api.keys import Caller, Keys
from deployments.errors import UnknownParameter
from deployments.gateway.gateway import Gateway
from deployments.requests.parsing import parse, plain
from deployments.requests.schemas import GenerationRequest

NUM_IMAGES = 9


def demo_routes(service: Gateway, keys: Keys) -> APIRouter:
    """Makes the routes."""
    router = APIRouter()
    software = f"dalle-serve {version('dalle-serve')}, {service.config.default_model_id}"

    @router.post("/generate")
    async def generate_nine(http: Request, caller: Annotated[Caller, Depends(keys)]) -> JSONResponse:
        limits = service.config.limits
        fields = await read_json_object(http, limits.max_body_bytes)
        for name in fields.keys() - {"prompt"}:
            raise UnknownParameter(f"Unknown parameter: {plain(name)}. Known is: prompt.", plain(name))
        nine = {"n": min(NUM_IMAGES, limits.max_n), "output_format": "jpeg"}
        request = parse(GenerationRequest, fields | nine, limits)
        with caller.settling():
            reply = await service.draw(request, None, caller)
        images = [base64.b64encode(image["image"]).decode("ascii") for image in reply["data"]]
        return JSONResponse({"images": images, "version": software})

    @router.get("/version")
    async def backend_version() -> JSONResponse:
        return JSONResponse({"version": software})

    return router
