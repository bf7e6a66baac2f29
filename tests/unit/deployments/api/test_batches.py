"""Files and batches through OpenAI's own client, on a service that draws at once."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from deployments.api.keys import KEYS_VARIABLE
from deployments.api.reply_schemas import Batch, BatchList, File, FileList
from deployments.batches import runner
from deployments.config import AppConfig, BatchesConfig, GatewayConfig, Limits
from deployments.requests.schemas import Upload
from model_core.errors import InvalidValue
from tests.unit.deployments.api.fake_service import EDITS, FakeService, ask, assert_envelope, png
from tests.unit.deployments.batches.conftest import ENDPOINT, jsonl

ONE, TWO = "the-key-of-somebody", "the-key-of-another"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(runner, "POLL_S", 0.01)


def as_client(service: FakeService, story: Callable[[Callable[[str], openai.AsyncOpenAI]], Awaitable[None]]) -> None:
    """Runs a story with OpenAI's client for each key, while the service works on batches."""

    async def run() -> None:
        api = service.api
        async with api.router.lifespan_context(api):
            transport = httpx2.ASGITransport(api, client=("127.0.0.1", 1))
            async with httpx2.AsyncClient(transport=transport) as http:
                await story(
                    lambda key: openai.AsyncOpenAI(
                        base_url="http://service/v1", api_key=key, http_client=http, max_retries=0
                    )
                )

    asyncio.run(asyncio.wait_for(run(), 60))


async def finished(client: openai.AsyncOpenAI, batch_id: str) -> Any:
    while (batch := await client.batches.retrieve(batch_id)).status in ("validating", "in_progress", "cancelling"):
        await asyncio.sleep(0.01)  # between looks; `as_client` has a deadline
    return batch


def test_openais_client_uploads_draws_and_fetches():
    async def story(client_of: Any) -> None:
        client = client_of("none")
        data = jsonl({"prompt": "a cat", "seed": 3, "n": 2}, {"prompt": "a dog", "size": "nonsense"})
        file = await client.files.create(file=("requests.jsonl", data), purpose="batch")
        File.model_validate(file.model_dump(exclude={"status_details"}))
        assert (file.filename, file.bytes, file.purpose) == ("requests.jsonl", len(data), "batch")
        assert (await client.files.content(file.id)).content == data
        begun = await client.batches.create(
            input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", metadata={"for": "tests"}
        )
        assert begun.status == "validating" and begun.metadata == {"for": "tests"}
        batch = await finished(client, begun.id)
        assert batch.status == "completed" and batch.request_counts.model_dump() == {
            "total": 2,
            "completed": 1,
            "failed": 1,
        }
        (line,) = (await client.files.content(batch.output_file_id)).text.splitlines()
        answer = json.loads(line)
        assert answer["custom_id"] == "one-1" and answer["response"]["status_code"] == 200 and answer["error"] is None
        images = answer["response"]["body"]["data"]
        assert [image["seed"] for image in images] == [3, 4]
        assert base64.b64decode(images[0]["b64_json"]).startswith(b"\x89PNG")
        (line,) = (await client.files.content(batch.error_file_id)).text.splitlines()
        refusal = json.loads(line)["response"]
        assert refusal["status_code"] == 400 and refusal["body"]["error"]["param"] == "size"
        with pytest.raises(openai.BadRequestError, match="is completed: there is nothing to cancel"):
            await client.batches.cancel(batch.id)
        assert [each.id async for each in client.batches.list()] == [batch.id]
        kinds = {each.purpose async for each in client.files.list(limit=1)}
        assert kinds == {"batch", "batch_output"}
        assert (await client.files.delete(file.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(file.id)

    as_client(FakeService(), story)


def test_pictures_are_uploaded_once_and_drawn_on_by_their_ids():
    service, picture, mask = FakeService(), png(4, 4), png(mode="RGBA", colour=0)

    async def story(client_of: Any) -> None:
        client = client_of("none")
        files = [await client.files.create(file=("a.png", each), purpose="vision") for each in (picture, mask)]
        File.model_validate(files[0].model_dump(exclude={"status_details"}))
        assert [each.id async for each in client.files.list(purpose="vision", order="asc")] == [f.id for f in files]
        body = {"prompt": "a hat", "images": [{"file_id": files[0].id}], "mask": {"file_id": files[1].id}, "seed": 3}
        await client.post("/images/edits", body=body, cast_to=object)
        assert service.upload == Upload(images=[picture], mask=mask)
        lines = jsonl(body, body | {"images": [{"file_id": "file-gone"}]}, url=EDITS)
        requests = await client.files.create(file=lines, purpose="batch")
        with pytest.raises(openai.BadRequestError, match="has the purpose vision; the requests of a batch have batch"):
            await client.batches.create(input_file_id=files[0].id, endpoint=EDITS, completion_window="24h")
        service.upload = None
        begun = await client.batches.create(input_file_id=requests.id, endpoint=EDITS, completion_window="24h")
        batch = await finished(client, begun.id)
        assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 1)
        assert service.upload == Upload(images=[picture], mask=mask)
        (line,) = (await client.files.content(batch.error_file_id)).text.splitlines()
        assert json.loads(line)["response"]["body"]["error"]["param"] == "images[0].file_id"

    as_client(service, story)


def test_files_of_others_are_no_pictures_and_nor_is_what_is_too_large(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, f"{ONE},{TWO}")
    service = FakeService(AppConfig(limits=Limits(max_upload_bytes=1500)))

    async def story(client_of: Any) -> None:
        one, two = client_of(ONE), client_of(TWO)
        file = await one.files.create(file=("a.png", bytes(1000)), purpose="user_data")
        named = {"file_id": file.id}
        for client, images, param, said in (
            (two, [named], "images[0].file_id", "There is no file"),
            (one, [named, named], "images[1].file_id", "the file has 1000 bytes, where 500 may be read"),
            (one, [named | {"image_url": "data:image/png;base64,YWJj"}], "images[0].file_id", "give one of them"),
        ):
            with pytest.raises(openai.BadRequestError, match=said) as refused:
                await client.post("/images/edits", body={"prompt": "a", "images": images}, cast_to=object)
            assert refused.value.param == param
        await one.post("/images/edits", body={"prompt": "a", "images": [named]}, cast_to=object)

    as_client(service, story)


def test_a_batch_is_cancelled():
    async def story(client_of: Any) -> None:
        client = client_of("none")
        file = await client.files.create(file=jsonl("a cat"), purpose="batch")
        batch = await client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
        assert (await client.batches.cancel(batch.id)).status in ("cancelling", "cancelled")
        assert (await finished(client, batch.id)).status == "cancelled"

    as_client(FakeService(), story)


def test_what_is_another_keys_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, f"{ONE},{TWO}")

    async def story(client_of: Any) -> None:
        one, two = client_of(ONE), client_of(TWO)
        file = await one.files.create(
            file=jsonl("a cat"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert file.expires_at - file.created_at == 3600
        create = {"input_file_id": file.id, "endpoint": ENDPOINT, "completion_window": "24h"}
        batch = await one.batches.create(**create)
        for call in (two.files.retrieve, two.files.content, two.files.delete):
            with pytest.raises(openai.NotFoundError):
                await call(file.id)
        for call in (two.batches.retrieve, two.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                await call(batch.id)
        with pytest.raises(openai.NotFoundError):
            await two.batches.create(**create)
        assert not [each async for each in two.files.list()] and not [each async for each in two.batches.list()]
        assert (await finished(one, batch.id)).status == "completed"
        with pytest.raises(openai.AuthenticationError):
            await client_of("wrong").files.list()

    as_client(FakeService(), story)


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint", "must be '/v1/images/generations' or '/v1/images/edits', got"),
        ({"completion_window": "1h"}, "completion_window", "must be '24h'"),
        ({"input_file_id": None}, "input_file_id", "Missing required parameter"),
        ({"metadata": {"a": 1}}, "metadata.a", "string"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata", "16"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds", "3600"),
        ({"webhook_url": "https://a.example"}, "webhook_url", "nobody is told"),
        ({"priority": "high"}, "priority", "Unknown parameter"),
    ],
)
def test_a_wrong_batch_is_refused_in_words(fields: dict[str, Any], param: str, said: str):
    body = {"input_file_id": "file-" + "0" * 24, "endpoint": ENDPOINT, "completion_window": "24h"} | fields
    reply = ask(FakeService(), "POST", "/v1/batches", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param and said in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("form", "file", "said"),
    [
        ({"purpose": "fine-tune"}, b"{}", "purpose must be batch or vision or user_data, got 'fine-tune'"),
        ({}, b"{}", "Missing required parameter: 'purpose'"),
        ({"purpose": "batch"}, None, "Missing required parameter: 'file'"),
        ({"purpose": "batch"}, b"", "The file is empty"),
        ({"purpose": "batch"}, bytes(2000), "at most 1024 bytes, got 2000"),
        ({"purpose": "batch", "colour": "red"}, b"{}", "Unknown parameter: colour"),
        ({"purpose": "batch", "expires_after[seconds]": "9"}, b"{}", "Missing required parameter: 'anchor'"),
    ],
)
def test_a_wrong_upload_is_refused_in_words(form: dict[str, str], file: bytes | None, said: str):
    service = FakeService(AppConfig(batches=BatchesConfig(max_file_bytes=1024)))
    parts: Any = [(name, (None, text)) for name, text in form.items()]
    if file is not None:
        parts.append(("file", ("a.jsonl", file)))
    reply = ask(service, "POST", "/v1/files", files=parts)
    assert reply.status_code == 400, reply.text
    assert said in reply.json()["error"]["message"]


def test_an_upload_far_too_large_is_not_read_to_its_end():
    service = FakeService(AppConfig(batches=BatchesConfig(max_file_bytes=1024)))
    files = {"file": ("a.jsonl", bytes(200_000))}
    assert_envelope(ask(service, "POST", "/v1/files", data={"purpose": "batch"}, files=files), 413, "body_too_large")


def test_lists_are_empty_at_first_and_wrong_limits_are_told():
    service = FakeService()
    FileList.model_validate(ask(service, "GET", "/v1/files").json())
    BatchList.model_validate(ask(service, "GET", "/v1/batches?limit=100").json())
    for query in ("limit=0", "limit=101", "limit=x", "limit=" + "9" * 5000):
        assert_envelope(ask(service, "GET", f"/v1/batches?{query}"), 400, "invalid_value")
    assert_envelope(ask(service, "GET", "/v1/files?order=up"), 400, "invalid_value")
    assert_envelope(ask(service, "GET", "/v1/batches?after=batch_0"), 404, "not_found")
    assert "/v1/files" in ask(service, "GET", "/files").json()["error"]["message"]


def test_several_gateways_need_a_database_that_they_share(tmp_path: Path):
    alone = FakeService(AppConfig(gateway=GatewayConfig(max_replicas=2)))
    reply = ask(alone, "GET", "/v1/batches")
    assert_envelope(reply, 400, "invalid_value")
    assert "batches.database" in reply.json()["error"]["message"]
    config = AppConfig(gateway=GatewayConfig(max_replicas=2), batches=BatchesConfig(database=f"sqlite:///{tmp_path}/b"))
    assert ask(FakeService(config), "GET", "/v1/batches").status_code == 200


def test_a_database_that_cannot_be_had_is_a_503(tmp_path: Path):
    (tmp_path / "file").touch()
    config = AppConfig(batches=BatchesConfig(database=f"sqlite:///{tmp_path}/file/b"))
    assert_envelope(ask(FakeService(config), "GET", "/v1/files"), 503, "batches_unavailable")
    assert ask(FakeService(config), "GET", "/health").status_code == 200


def test_a_picture_is_no_batch():
    """Any file may be uploaded; the batch says what is wrong with it."""

    async def story(client_of: Any) -> None:
        client = client_of("none")
        file = await client.files.create(file=png(), purpose="batch")
        begun = await client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
        batch = await finished(client, begun.id)
        assert batch.status == "failed" and batch.errors.data[0].line == 1
        Batch.model_validate(batch.model_dump(exclude={"model", "usage"}))

    as_client(FakeService(), story)


def test_what_the_service_refuses_is_the_requests_own_answer():
    service = FakeService()
    service.error = InvalidValue("not here", "prompt")

    async def story(client_of: Any) -> None:
        client = client_of("none")
        file = await client.files.create(file=jsonl("a cat"), purpose="batch")
        begun = await client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
        batch = await finished(client, begun.id)
        (line,) = (await client.files.content(batch.error_file_id)).text.splitlines()
        assert json.loads(line)["response"]["body"]["error"]["message"] == "not here"

    as_client(service, story)
