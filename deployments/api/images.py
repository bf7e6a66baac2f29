"""The routes that draw: generations, edits, variations, and the files behind image URLs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from deployments.api.batches import Batches
from deployments.api.body import check_media_type, read_json_object
from deployments.api.errors import late_error
from deployments.api.events import event_stream
from deployments.api.keys import Caller, Keys
from deployments.api.uploads import read_form
from deployments.gateway.gateway import Gateway
from deployments.gateway.image_store import SUFFIXES
from deployments.gateway.replies import Event, Publish, wire_event, wire_reply
from deployments.requests.parsing import parse
from deployments.requests.pictures import take_pictures
from deployments.requests.schemas import (
    DrawingRequest,
    EditRequest,
    GenerationRequest,
    JsonEditRequest,
    Upload,
    VariationRequest,
)
from model_core.errors import InvalidValue

JSON = "application/json"
FILES = "/images"  # short-lived and open: the name is the key


def image_routes(service: Gateway, keys: Keys, batches: Batches) -> APIRouter:
    """Makes the routes."""
    router = APIRouter()

    @router.post("/v1/images/generations")
    async def create_image(http: Request, caller: Annotated[Caller, Depends(keys)]) -> Response:
        limits = service.config.limits  # which may change
        fields = await read_json_object(http, limits.max_body_bytes)
        request = parse(GenerationRequest, fields, limits)
        return await _answer(service, http, caller, request, None, "image_generation")

    @router.post("/v1/images/edits")
    async def edit_image(http: Request, caller: Annotated[Caller, Depends(keys)]) -> Response:
        limits = service.config.limits
        if check_media_type(http, "multipart/form-data", JSON) == JSON:
            fields = await read_json_object(http, limits.max_upload_bytes)
            asked = parse(JsonEditRequest, fields, limits)
            stored = batches.pictures(caller.scope)
            request, upload = await asyncio.to_thread(take_pictures, asked, stored, limits.max_upload_bytes)
        else:
            texts, upload = await read_form(http, limits, may_mask=True)
            request = parse(EditRequest, texts, limits, as_text=True)
        return await _answer(service, http, caller, request, upload, "image_edit")

    @router.post("/v1/images/variations")
    async def vary_image(http: Request, caller: Annotated[Caller, Depends(keys)]) -> Response:
        limits = service.config.limits
        texts, upload = await read_form(http, limits, may_mask=False)
        request = parse(VariationRequest, texts, limits, as_text=True)
        return await _answer(service, http, caller, request, upload, "image_generation")

    @router.get(FILES + "/{name}")
    async def image_file(name: str) -> Response:
        file = await asyncio.to_thread(service.images.get, name) if service.images else None
        if file is None:
            raise HTTPException(404)
        headers = {"cache-control": "private, max-age=600"}
        return Response(file, media_type=SUFFIXES[name.rpartition(".")[2]], headers=headers)

    return router


async def _answer(
    service: Gateway, http: Request, caller: Caller, request: DrawingRequest, upload: Upload | None, event_prefix: str
) -> Response:
    publish = _publisher(service, http, request)
    if request.stream:
        return await _stream(service, caller, request, upload, event_prefix)
    if request.response_format == "url" and service.images:
        await asyncio.to_thread(service.images.check)  # before anything is drawn that could not be delivered
    with caller.settling():
        reply = await service.draw(request, upload, caller)
        return JSONResponse(await asyncio.to_thread(wire_reply, reply, request.response_format, publish))


async def _stream(
    service: Gateway, caller: Caller, request: DrawingRequest, upload: Upload | None, prefix: str
) -> StreamingResponse:
    async def on_the_wire() -> AsyncGenerator[Event, None]:
        with caller.settling():
            async with aclosing(service.stream(request, upload, caller)) as events:
                async for event in events:
                    yield await asyncio.to_thread(wire_event, event, prefix)

    return await event_stream(on_the_wire(), late_error)


def _publisher(service: Gateway, http: Request, request: DrawingRequest) -> Publish | None:
    """Makes URLs on the origin that the client called, or the public one; None where they cannot be had.

    Raises:
      InvalidValue: nothing but URLs is asked for, and they cannot be had.
    """
    store = service.images
    if store is None:
        if request.response_format == "url":
            raise InvalidValue(
                "response_format 'url' is not offered here: there are several gateways, and no folder that they share "
                "(files.url_folder). Ask for 'b64_json'.",
                "response_format",
            )
        return None
    origin = (service.config.files.public_url or str(http.base_url)).rstrip("/")
    return lambda file: f"{origin}{FILES}/{store.put(file, request.file_format)}"
