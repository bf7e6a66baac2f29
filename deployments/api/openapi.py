"""The OpenAPI document: what each route takes and answers, with the limits that this service has.

Written rather than derived, because the routes read their bodies by themselves.
"""

from importlib.metadata import version
from typing import Any

from pydantic import BaseModel

from deployments.api.errors import STATUSES
from deployments.api.reply_schemas import (
    Batch,
    BatchList,
    Completed,
    DemoReply,
    DemoVersion,
    ErrorReply,
    File,
    FileDeleted,
    FileList,
    Health,
    ImagesReply,
    KeyUsage,
    Loading,
    Model,
    ModelList,
    PartialImage,
    Readiness,
)
from deployments.batches.files import RESULTS, UPLOADED
from deployments.config import Limits
from deployments.requests.schemas import (
    BatchRequest,
    DrawingRequest,
    EditRequest,
    GenerationRequest,
    JsonEditRequest,
    VariationRequest,
)

Json = dict[str, Any]

FILE: Json = {"type": "string", "format": "binary"}
REPLIES: tuple[type[BaseModel], ...] = (
    ImagesReply, Loading, PartialImage, Completed, ErrorReply, Model, ModelList, KeyUsage, Health, Readiness, DemoReply,
    DemoVersion,
    File, FileList, FileDeleted, Batch, BatchList,
)  # fmt: skip
JSON_KINDS = (GenerationRequest, JsonEditRequest)  # the others are forms
REASONS = {
    400: "A field is wrong, or the content policy refuses",
    401: "No key, or a wrong one",
    403: "No key, and none would help",
    404: "There is no such thing here",
    408: "It took longer than it may",
    413: "The body is too large",
    415: "The body is of the wrong kind",
    429: "Too much is waiting already",
    500: "The service failed",
    503: "A part of the service is down",
}


def document(limits: Limits, has_keys: bool) -> Json:
    """Makes the document; `has_keys` says whether callers need one."""
    schemas: Json = {}
    for reply in REPLIES:
        _add_schema(schemas, reply.__name__, reply.model_json_schema(mode="serialization", ref_template=_REF))
    for kind in (*JSON_KINDS, EditRequest, VariationRequest):
        _add_schema(schemas, kind.__name__, _request_schema(kind, limits))
    _add_schema(schemas, BatchRequest.__name__, BatchRequest.model_json_schema(ref_template=_REF))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dalle-serve",
            "version": version("dalle-serve"),
            "description": "OpenAI's Images API for models of the DALL·E mini family.",
        },
        "paths": _paths(),
        "components": {
            "schemas": schemas,
            **({"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}} if has_keys else {}),
        },
        **({"security": [{"key": []}]} if has_keys else {}),
    }


_REF = "#/components/schemas/{model}"


def _paths() -> Json:
    drawing = (400, 401, 403, 404, 408, 413, 415, 429, 500, 503)
    reading = (401, 403, 404, 500)
    name = _in_path("name")
    return {
        "/v1/images/generations": {
            "post": _operation("Draw images of a prompt", _drawn(), drawing, body=_json(_ref(GenerationRequest)))
        },
        "/v1/images/edits": {
            "post": _operation(
                "Draw on a picture",
                _drawn(),
                drawing,
                body=_form(_ref(EditRequest)) | _json(_ref(JsonEditRequest)),
            )
        },
        "/v1/images/variations": {
            "post": _operation("Draw variations of a picture", _drawn(), drawing, body=_form(_ref(VariationRequest)))
        },
        "/v1/models": {"get": _operation("List the models", _json(_ref(ModelList)), (401, 403, 500))},
        "/v1/models/{name}": {"get": _operation("Describe a model", _json(_ref(Model)), reading, parameters=[name])},
        "/v1/usage": {"get": _operation("Say what the caller's key has had", _json(_ref(KeyUsage)), (401, 403, 500))},
        **_batch_paths(),
        "/images/{name}": {
            "get": _operation(
                "Fetch an image by its URL",
                {f"image/{kind}": {"schema": FILE} for kind in ("png", "jpeg", "webp")},
                (404, 500),
                parameters=[name],
                is_open=True,
            )
        },
        "/generate": {
            "post": _operation(
                "Draw nine images, for the front ends of the DALL·E mini demo",
                _json(_ref(DemoReply)),
                drawing,
                body=_json(
                    {
                        "type": "object",
                        "properties": {"prompt": {"type": "string", "minLength": 1, "description": "What to draw."}},
                        "required": ["prompt"],
                        "additionalProperties": False,
                    }
                ),
            )
        },
        "/version": {
            "get": _operation("Say which software the demo talks to", _json(_ref(DemoVersion)), (500,), is_open=True)
        },
        "/health": {"get": _operation("Say that the gateway answers", _json(_ref(Health)), (500,), is_open=True)},
        "/ready": {
            "get": _operation("Say whether images can be drawn", _json(_ref(Readiness)), (500,), is_open=True)
            | {"description": "503 with the same body as long as they cannot."}
        },
    }


def _batch_paths() -> Json:
    reading, keeping = (400, 401, 403, 404, 500, 503), (400, 401, 403, 404, 413, 415, 429, 500, 503)
    file, batch = ([_in_path(name)] for name in ("file_id", "batch_id"))
    after, limit = _in_query("after", {"type": "string"}), _in_query("limit", {"type": "integer", "minimum": 1})
    purpose = _in_query("purpose", {"enum": ["", *UPLOADED, RESULTS]})
    order = _in_query("order", {"enum": ["asc", "desc"]})
    seconds = {"type": "integer", "minimum": 3600, "maximum": 2592000}
    upload = {
        "type": "object",
        "properties": {
            "file": FILE | {"description": "JSONL, a line for each request; or a picture to draw on."},
            "purpose": {"enum": [*UPLOADED]},
            "expires_after[anchor]": {"const": "created_at"},
            "expires_after[seconds]": seconds,
        },
        "required": ["file", "purpose"],
        "additionalProperties": False,
    }
    bytes_of_it = {"application/octet-stream": {"schema": FILE}}
    return {
        "/v1/files": {
            "post": _operation("Upload requests, or a picture", _json(_ref(File)), keeping, body=_form(upload)),
            "get": _operation("List files", _json(_ref(FileList)), reading, parameters=[limit, after, purpose, order]),
        },
        "/v1/files/{file_id}": {
            "get": _operation("Describe a file", _json(_ref(File)), reading, parameters=file),
            "delete": _operation("Delete a file", _json(_ref(FileDeleted)), reading, parameters=file),
        },
        "/v1/files/{file_id}/content": {"get": _operation("Fetch a file", bytes_of_it, reading, parameters=file)},
        "/v1/batches": {
            "post": _operation("Begin a batch", _json(_ref(Batch)), keeping, body=_json(_ref(BatchRequest))),
            "get": _operation("List batches", _json(_ref(BatchList)), reading, parameters=[limit, after]),
        },
        "/v1/batches/{batch_id}": {
            "get": _operation("Describe a batch", _json(_ref(Batch)), reading, parameters=batch)
        },
        "/v1/batches/{batch_id}/cancel": {
            "post": _operation("Cancel a batch", _json(_ref(Batch)), reading, parameters=batch)
        },
    }


def _in_path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _in_query(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _operation(
    summary: str,
    content: Json,
    errors: tuple[int, ...],
    *,
    body: Json | None = None,
    parameters: list[Json] | None = None,
    is_open: bool = False,
) -> Json:
    responses: Json = {"200": {"description": "Done", "content": content}}
    for status in errors:
        assert status in STATUSES or status in (401, 403)
        responses[str(status)] = {"description": REASONS[status], "content": _json(_ref(ErrorReply))}
    if content == _json(_ref(Readiness)):
        responses["503"] = {"description": "Not yet", "content": content}
    return {
        "summary": summary,
        "responses": responses,
        **({"requestBody": {"required": True, "content": body}} if body else {}),
        **({"parameters": parameters} if parameters else {}),
        **({"security": []} if is_open else {}),
    }


def _drawn() -> Json:
    data = {"oneOf": [_ref(Loading), _ref(PartialImage), _ref(Completed), _ref(ErrorReply)]}
    event = {
        "type": "object",
        "properties": {
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
        },
        "required": ["event", "data"],
    }
    return _json(_ref(ImagesReply)) | {"text/event-stream": {"schema": event}}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _form(schema: Json) -> Json:
    return {"multipart/form-data": {"schema": schema}}


def _ref(kind: type[BaseModel]) -> Json:
    return {"$ref": _REF.format(model=kind.__name__)}


def _add_schema(schemas: Json, name: str, schema: Json) -> None:
    schemas.update(schema.pop("$defs", {}))
    schemas[name] = schema


def _request_schema(kind: type[DrawingRequest], limits: Limits) -> Json:
    """The request with this service's limits; in JSON null means "not given", a form has files and no null."""
    schema = kind.model_json_schema(ref_template=_REF)
    fields: Json = schema["properties"]
    fields["n"]["maximum"] = limits.max_n
    for name in ("prompt", "negative_prompt"):
        fields[name]["maxLength"] = limits.max_prompt_chars
    fields["best_of"] = _without_null(fields["best_of"])
    fields["best_of"]["maximum"] = limits.max_best_of
    for name, field in fields.items():
        if name not in schema.get("required", ()):
            fields[name] = _with_null(field) if kind in JSON_KINDS else _without_null(field)
    if kind in JSON_KINDS:
        return schema
    fields["image"] = FILE | {"description": "A PNG, JPEG or WebP file."}
    if kind is EditRequest:
        fields["image"]["description"] += " A list (image[]) may be sent; the first is drawn on."
        fields["mask"] = FILE | {"description": "A file of the image's size; alpha 0 marks what to repaint."}
    schema["required"] = [*schema.get("required", ()), "image"]
    return schema


def _without_null(field: Json) -> Json:
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    return {name: value for name, value in field.items() if name not in ("anyOf", "default")} | (
        kinds[0] if len(kinds) == 1 else {name: field[name] for name in ("anyOf", "default") if name in field}
    )


def _with_null(field: Json) -> Json:
    if any(kind == {"type": "null"} for kind in field.get("anyOf", ())):
        return field
    about = {name: value for name, value in field.items() if name in ("title", "description", "default")}
    kind = {name: value for name, value in field.items() if name not in about}
    return about | {"anyOf": [kind, {"type": "null"}]}
