"""The routes of files and batches, as OpenAI's API has them, and what stands behind them in this process."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.datastructures import UploadFile

from deployments.api.body import read_json_object
from deployments.api.errors import answer_to
from deployments.api.keys import Keys
from deployments.api.uploads import parts_of
from deployments.batches.database import Database
from deployments.batches.files import RESULTS, UPLOADED, Files
from deployments.batches.registry import Registry
from deployments.batches.runner import Draw, Runner
from deployments.batches.webhooks import Webhooks
from deployments.config import AppConfig, Limits
from deployments.errors import MissingParameter, UnknownParameter
from deployments.gateway.caller import Caller
from deployments.gateway.gateway import Gateway
from deployments.requests.parsing import checked, plain, shown
from deployments.requests.pictures import Stored
from deployments.requests.schemas import BatchRequest, ExpiresAfter
from model_core.cache import cache_folder
from model_core.errors import InvalidValue

FORM_BYTES = 64 * 1024  # of an upload, beside its file
MAX_FILENAME_CHARS = 255
MAX_FILES_LISTED, MAX_BATCHES_LISTED, BATCHES_LISTED = 10_000, 100, 20


class Batches:
    """Files and batches of a service, and the work on them, for as long as the app lives.

    Raises:
      DalleServeError: the settings name a database or a secret that is none.
    """

    def __init__(self, service: Gateway):
        config = service.config
        self._runner: Runner | None = None
        self._offered: tuple[Files, Registry] | None = None
        self.webhooks = Webhooks(config.batches)
        url = config.batches.database or _default_url(config)
        if url is None:
            return
        database = Database(url)
        files = Files(database, config.batches)
        name = f"{socket.gethostname()[:20]}-{secrets.token_hex(8)}"  # no other's, also not that of a process before
        self._offered = files, Registry(database, files, config.batches)
        self._runner = Runner(lambda: service.config, database, self.webhooks, name, _bulk(service), _refusal)

    @property
    def files(self) -> Files:
        """All files; raises `InvalidValue` where none are kept."""
        return self._parts()[0]

    @property
    def registry(self) -> Registry:
        """All batches; raises `InvalidValue` where none are kept."""
        return self._parts()[1]

    def pictures(self, owner: str) -> Stored:
        """Reads the files of an owner; raises `InvalidValue` where none are kept, once one is asked for."""
        return lambda file_id, max_bytes: self.files.read(owner, file_id, max_bytes)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Works on batches in the background."""
        if self._runner is None:
            yield
            return
        async with self._runner.running():
            yield

    def changed(self) -> None:
        """Has the work on them look at once."""
        if self._runner:
            self._runner.wake()

    def _parts(self) -> tuple[Files, Registry]:
        if self._offered is None:
            raise InvalidValue(
                "There are no files and batches here: there are several gateways, and no database that they share "
                "(batches.database)."
            )
        return self._offered


def _bulk(service: Gateway) -> Draw:
    """Draws lines of batches, of which nothing is kept: keys share nothing, and what others asked for stays kept."""
    return lambda request, upload: service.draw(request, upload, Caller(cache_control="no-store"))


def batch_routes(service: Gateway, keys: Keys, batches: Batches) -> APIRouter:
    """Makes the routes."""
    router = APIRouter()

    @router.post("/v1/files")
    async def upload_file(http: Request, caller: Annotated[Caller, Depends(keys)]) -> JSONResponse:
        files, max_bytes = batches.files, service.config.batches.max_file_bytes
        async with parts_of(http, max_bytes + FORM_BYTES, 1, FORM_BYTES) as parts:
            file, purpose, seconds = _upload(parts, service.config.limits)
            if (file.size or 0) > max_bytes:
                raise InvalidValue(f"The file must have at most {max_bytes} bytes, got {file.size}.", "file")
            kept = (caller.scope, _name_of(file), file.file, seconds)
            return JSONResponse(await asyncio.to_thread(lambda: files.add(*kept, purpose=purpose)))

    @router.get("/v1/files")
    async def list_files(http: Request, caller: Annotated[Caller, Depends(keys)]) -> JSONResponse:
        query = http.query_params
        asked = {
            "purpose": _one_of(query.get("purpose", ""), "purpose", ("", *UPLOADED, RESULTS)),
            "limit": _limit(query.get("limit"), MAX_FILES_LISTED, MAX_FILES_LISTED),
            "after": query.get("after", ""),
            "newest_first": _one_of(query.get("order", "desc"), "order", ("asc", "desc")) == "desc",
        }
        return _page(*await asyncio.to_thread(lambda: batches.files.page(caller.scope, **asked)))

    @router.get("/v1/files/{file_id}")
    async def retrieve_file(file_id: str, caller: Annotated[Caller, Depends(keys)]) -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(batches.files.get, caller.scope, file_id))

    @router.delete("/v1/files/{file_id}")
    async def delete_file(file_id: str, caller: Annotated[Caller, Depends(keys)]) -> JSONResponse:
        await asyncio.to_thread(batches.files.delete, caller.scope, file_id)
        return JSONResponse({"id": file_id, "object": "file", "deleted": True})

    @router.get("/v1/files/{file_id}/content")
    async def file_content(file_id: str, caller: Annotated[Caller, Depends(keys)]) -> StreamingResponse:
        about, pieces = await asyncio.to_thread(batches.files.content, caller.scope, file_id)
        headers = {"content-length": str(about["bytes"]), "content-disposition": "attachment"}
        return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)

    @router.post("/v1/batches")
    async def create_batch(http: Request, caller: Annotated[Caller, Depends(keys)]) -> JSONResponse:
        limits = service.config.limits
        asked = checked(BatchRequest, await read_json_object(http, limits.max_body_bytes), limits)
        more = {
            "metadata": asked.metadata,
            "output_seconds": asked.output_expires_after and asked.output_expires_after.seconds,
            "webhook_url": asked.webhook_url and batches.webhooks.check(asked.webhook_url),
        }
        where = (caller.scope, asked.input_file_id, asked.endpoint)
        batch = await asyncio.to_thread(lambda: batches.registry.create(*where, **more))
        batches.changed()
        return JSONResponse(batch)

    @router.get("/v1/batches")
    async def list_batches(http: Request, caller: Annotated[Caller, Depends(keys)]) -> JSONResponse:
        limit = _limit(http.query_params.get("limit"), BATCHES_LISTED, MAX_BATCHES_LISTED)
        after = http.query_params.get("after", "")
        return _page(*await asyncio.to_thread(lambda: batches.registry.page(caller.scope, limit=limit, after=after)))

    @router.get("/v1/batches/{batch_id}")
    async def retrieve_batch(batch_id: str, caller: Annotated[Caller, Depends(keys)]) -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(batches.registry.get, caller.scope, batch_id))

    @router.post("/v1/batches/{batch_id}/cancel")
    async def cancel_batch(batch_id: str, caller: Annotated[Caller, Depends(keys)]) -> JSONResponse:
        batch = await asyncio.to_thread(batches.registry.cancel, caller.scope, batch_id)
        batches.changed()
        return JSONResponse(batch)

    return router


def _default_url(config: AppConfig) -> str | None:
    """A file in the user's cache for services of these models; None where other gateways could not see it."""
    if config.gateway.max_replicas > 1:
        return None
    models = "+".join(model.id for model in config.models)[:100]
    return f"sqlite:///{cache_folder() / 'batches' / models}.sqlite"


def _refusal(error: Exception) -> tuple[int, dict[str, Any]]:
    answer = answer_to(error)
    return answer.status, answer.envelope


def _upload(parts: list[tuple[str, UploadFile | str]], limits: Limits) -> tuple[UploadFile, str, int | None]:
    """The file of a form, what it is for, and how many seconds it is to be kept."""
    texts = {name: part for name, part in parts if isinstance(part, str)}
    file = next((part for name, part in parts if name == "file" and not isinstance(part, str)), None)
    if unknown := [
        plain(name) for name, _ in parts if name.partition("[")[0] not in ("file", "purpose", "expires_after")
    ]:
        known = "file, purpose, expires_after"
        raise UnknownParameter(f"Unknown parameter: {unknown[0]}. Known are: {known}.", unknown[0])
    if file is None:
        raise MissingParameter("Missing required parameter: 'file', the bytes of a file.", "file")
    if "purpose" not in texts:
        raise MissingParameter("Missing required parameter: 'purpose'.", "purpose")
    purpose = _one_of(texts["purpose"], "purpose", UPLOADED)
    asked = {name[:-1].partition("[")[2]: text for name, text in texts.items() if name.startswith("expires_after[")}
    return file, purpose, checked(ExpiresAfter, asked, limits, as_text=True).seconds if asked else None


def _name_of(file: UploadFile) -> str:
    return "".join(char for char in file.filename or "" if char.isprintable())[:MAX_FILENAME_CHARS]


def _one_of(value: str, name: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise InvalidValue(f"{name} must be {' or '.join(filter(None, allowed))}, got {shown(value)}.", name)
    return value


def _limit(text: str | None, default: int, most: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 8 and 1 <= int(text) <= most):
        raise InvalidValue(f"limit must be between 1 and {most}, got {shown(text)}.", "limit")
    return int(text)


def _page(data: list[dict[str, Any]], has_more: bool) -> JSONResponse:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return JSONResponse({"object": "list", "data": data, "has_more": has_more} | ends)
