"""The lines of a batch's file: JSON objects with a `custom_id`, and the body of a request.

What is wrong with the file itself is found before anything is drawn, and names its line. What is wrong with the body of
one request is that request's own answer, as it would be over HTTP.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from deployments.config import Limits
from deployments.requests.parsing import json_object, parse, plain, shown
from deployments.requests.pictures import Stored, take_pictures
from deployments.requests.schemas import DrawingRequest, GenerationRequest, JsonEditRequest, Upload
from model_core.errors import InvalidValue

GENERATIONS, EDITS = ENDPOINTS = ("/v1/images/generations", "/v1/images/edits")
METHOD = "POST"
FIELDS = ("custom_id", "method", "url", "body")
MAX_CUSTOM_ID_CHARS = 512
MAX_PROBLEMS = 100
# What a batch's requests have beside what their bodies say: the one place that makes them yield to others.
BATCH_CLASS = {"priority": "batch"}


class Line(NamedTuple):
    """A request, and the number of its line, from 1."""

    number: int
    custom_id: str
    body: dict[str, Any]
    endpoint: str


class Problem(NamedTuple):
    """What is wrong with a file, as OpenAI's API tells it; `line` is None where it is no single one."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


def read_lines(
    pieces: Iterable[bytes], endpoints: Sequence[str], *, max_lines: int, limits: Limits
) -> tuple[list[Line], list[Problem]]:
    """Reads a file: its requests, and what is wrong with it, at most `MAX_PROBLEMS`. Empty lines are passed over.

    Args:
      endpoints: where lines may go.
      limits: of what a line may have as of any body.
    """
    max_line_bytes = limits.max_upload_bytes if EDITS in endpoints else limits.max_body_bytes
    lines: list[Line] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for number, data in _split(pieces, max_line_bytes):
        if not data.strip():
            continue
        if len(lines) == max_lines:
            problems.append(Problem("too_many_lines", f"A batch may have {max_lines} requests.", number))
            break
        try:
            if len(data) > max_line_bytes:
                raise InvalidValue(f"The line must have at most {max_line_bytes} bytes.")
            line = _read(number, data, endpoints)
            if line.custom_id in seen:
                first = seen[line.custom_id]
                raise InvalidValue(f"custom_id {shown(line.custom_id)} is that of line {first} too.", "custom_id")
        except InvalidValue as error:
            problems.append(Problem("invalid_line", f"Line {number}: {error}", number, error.param))
            if len(problems) == MAX_PROBLEMS:
                break
            continue
        seen[line.custom_id] = number
        lines.append(line)
    if not lines and not problems:
        problems.append(Problem("empty_file", "The file has no requests: a line of JSON is one."))
    return lines, problems


def request_of(
    endpoint: str, body: dict[str, Any], limits: Limits, stored: Stored
) -> tuple[DrawingRequest, Upload | None]:
    """Checks the body of a line, and gives its request the class of batches; and its pictures.

    Args:
      stored: what the files that it names are read with.

    Raises:
      InvalidValue: as the HTTP endpoint would; or it asks for what a file cannot hold.
    """
    upload = None
    if endpoint == EDITS:
        request, upload = take_pictures(parse(JsonEditRequest, body, limits), stored, limits.max_upload_bytes)
    else:
        request = parse(GenerationRequest, body, limits)
    if request.stream:
        raise InvalidValue("stream does not go with a batch: leave it out.", "stream")
    if request.response_format == "url":
        raise InvalidValue("response_format 'url' does not go with a batch, for URLs live shortly.", "response_format")
    return request.model_copy(update=BATCH_CLASS), upload


def _split(pieces: Iterable[bytes], max_line_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; of one that is too long only so much as shows that."""
    number, rest = 1, b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield number, line
            number += 1
        rest = rest[: max_line_bytes + 1]
    yield number, rest


def _read(number: int, data: bytes, endpoints: Sequence[str]) -> Line:
    fields = json_object(data, "it")
    unknown = [plain(name) for name in fields if name not in FIELDS]
    if unknown:
        raise InvalidValue(f"it has {', '.join(unknown[:5])}; known are: {', '.join(FIELDS)}.", unknown[0])
    custom_id, body = fields.get("custom_id"), fields.get("body")
    if not (isinstance(custom_id, str) and 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARS and custom_id.isprintable()):
        message = f"custom_id must be 1 to {MAX_CUSTOM_ID_CHARS} printable characters, got {shown(custom_id)}."
        raise InvalidValue(message, "custom_id")
    for name, expected in (("method", (METHOD,)), ("url", endpoints)):
        if fields.get(name) not in expected:
            wanted = " or ".join(map(repr, expected))
            raise InvalidValue(f"{name} must be {wanted} in this batch, got {shown(fields.get(name))}.", name)
    if not isinstance(body, dict):
        raise InvalidValue(f"body must be an object, the fields of a request, got {shown(body)}.", "body")
    return Line(number, custom_id, body, fields["url"])
