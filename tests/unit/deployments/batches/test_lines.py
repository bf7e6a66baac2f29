import json
from typing import Any

import pytest

from deployments.batches.lines import EDITS, ENDPOINTS, Line, read_lines, request_of
from deployments.config import Limits
from deployments.requests.pictures import no_files
from model_core.errors import InvalidValue
from tests.unit.deployments.batches.conftest import ENDPOINT, jsonl

GOOD: dict[str, Any] = {"custom_id": "a", "method": "POST", "url": ENDPOINT, "body": {"prompt": "an avocado"}}


def read(data: bytes, *, max_lines: int = 10, piece: int = 7, max_line_bytes: int = 200) -> Any:
    pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
    limits = Limits().model_copy(update={"max_body_bytes": max_line_bytes})
    return read_lines(pieces, [ENDPOINT], max_lines=max_lines, limits=limits)


def test_lines_are_read_whatever_pieces_they_come_in():
    data = b"\xef\xbb\xbf" + jsonl("an avocado") + b"\r\n\n" + jsonl("ein Schöner", first=2).rstrip()
    lines, problems = read(data)
    assert not problems
    assert lines == [
        Line(1, "one-1", {"prompt": "an avocado"}, ENDPOINT),
        Line(4, "one-2", {"prompt": "ein Schöner"}, ENDPOINT),
    ]


@pytest.mark.parametrize(
    ("line", "said", "param"),
    [
        (b"{", "Line 2: it is not JSON", None),
        (b"[1]", "Line 2: it must be a JSON object", None),
        (b"\xff", "Line 2: it must be UTF-8", None),
        (b'"' + b"x" * 300 + b'"', "Line 2: The line must have at most 200 bytes", None),
        ({"custom_id": None}, "Line 2: custom_id must be 1 to 512 printable characters, got None", "custom_id"),
        ({"custom_id": "a\0"}, "custom_id must be", "custom_id"),
        ({"custom_id": "\ud800"}, "custom_id must be", "custom_id"),
        ({"custom_id": "one-1"}, "Line 2: custom_id 'one-1' is that of line 1 too", "custom_id"),
        ({"method": "GET"}, "method must be 'POST' in this batch, got 'GET'", "method"),
        ({"url": "/v1/embeddings"}, "url must be '/v1/images/generations' in this batch", "url"),
        ({"body": "an avocado"}, "body must be an object", "body"),
        ({"boby": {}}, "it has boby; known are: custom_id, method, url, body", "boby"),
    ],
)
def test_what_is_wrong_names_its_line(line: Any, said: str, param: str | None):
    bad = line if isinstance(line, bytes) else json.dumps(GOOD | line).encode()
    lines, (problem,) = read(jsonl("an avocado") + bad + b"\n" + jsonl("a cat", first=3))
    assert [each.number for each in lines] == [1, 3]  # the others are looked at all the same
    assert said in problem.message
    assert (problem.line, problem.param) == (2, param)


def test_too_many_lines_and_none():
    assert [problem[::2] for problem in read(jsonl(*["a cat"] * 4), max_lines=3)[1]] == [("too_many_lines", 4)]
    assert [problem.code for problem in read(b"\n  \n")[1]] == ["empty_file"]
    assert len(read(b"{\n" * 500)[1]) == 100


def test_a_long_line_is_not_kept_in_memory_whole():
    def pieces():
        yield b'{"custom_id": "'
        for _ in range(100):
            yield b"x" * 1000
        yield b"\n"

    _, (problem,) = read_lines(pieces(), [ENDPOINT], max_lines=3, limits=Limits(max_body_bytes=2000))
    assert "at most 2000 bytes" in problem.message


def test_a_batch_has_one_endpoint_and_a_file_of_its_own_any():
    data = json.dumps(GOOD | {"url": EDITS}).encode() + b"\n" + jsonl("a cat")
    for endpoints, urls in (([ENDPOINT], [ENDPOINT]), ([EDITS], [EDITS]), (ENDPOINTS, [EDITS, ENDPOINT])):
        lines, problems = read_lines([data], endpoints, max_lines=9, limits=Limits())
        assert [line.endpoint for line in lines] == urls and len(problems) == 2 - len(urls)


def test_lines_with_pictures_may_be_as_long_as_uploads():
    data = json.dumps(GOOD | {"url": EDITS, "body": {"prompt": "x" * 3000}}).encode()
    limits = Limits(max_body_bytes=1024, max_upload_bytes=4000)
    assert not read_lines([data], [EDITS], max_lines=9, limits=limits)[1]
    assert read_lines([data + b" " * 1000], [EDITS], max_lines=9, limits=limits)[1]


def checked(endpoint: str, **body: Any) -> Any:
    return request_of(endpoint, {"prompt": "a cat"} | body, Limits(), no_files)


def test_a_body_is_checked_as_over_http_and_yields_to_others():
    request, upload = checked(ENDPOINT, n=2)
    assert (request.priority, request.n, upload) == ("batch", 2, None)
    for wrong in ({"prompt": ""}, {"passes": 1}, {"stream": True}, {"response_format": "url"}, {"images": []}):
        with pytest.raises(InvalidValue):
            checked(ENDPOINT, **wrong)


def test_an_edit_has_its_pictures():
    request, upload = checked(EDITS, images=[{"image_url": "data:image/png;base64,YWJj"}], keep=0.25)
    assert (request.priority, request.keep, upload.images) == ("batch", 0.25, [b"abc"])
    for wrong in ({}, {"images": [{"file_id": "file-1"}]}, {"images": [{"image_url": "https://a/b.png"}]}):
        with pytest.raises(InvalidValue):
            checked(EDITS, **wrong)
