"""OpenAI's own client against the running service: what "compatible" means, point by point."""

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import ImagesResponse
from PIL import Image

from deployments.api.reply_schemas import ImagesReply
from deployments.local import LocalService
from tests.serve.conftest import kill
from tests.serve.processes import replica, stopped
from tests.serve.test_service import GENERATIONS, LARGEST, NO_STORE, SAMPLER, in_background, pending_images, wait_until

MAGIC = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF"}


@pytest.fixture
def client(service: LocalService) -> Iterator[openai.OpenAI]:
    options: Any = {"api_key": "none", "max_retries": 0, "timeout": 120, "default_headers": NO_STORE}
    with openai.OpenAI(base_url=f"{service.url}/v1", **options) as client:
        yield client


def decoded(image: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image.b64_json)))


def picture(width: int = 40, height: int = 40, alpha: int | None = None) -> bytes:
    """A PNG in two colours; its lower half is clear where `alpha` is 0."""
    image = Image.new("RGB", (width, height), "orange")
    image.paste("navy", (0, 0, width, height // 2))
    if alpha is not None:
        image.putalpha(255)
        image.paste((0, 0, 0, alpha), (0, height // 2, width, height))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_two_images_of_the_size_that_was_asked_for(client: openai.OpenAI):
    reply = client.images.generate(prompt="an avocado", n=2, size="256x256", response_format="b64_json")
    assert reply.data and [decoded(image).size for image in reply.data] == [(256, 256)] * 2
    assert reply.usage and reply.usage.output_tokens == 2 * 64 and reply.usage.input_tokens > 0
    assert reply.size == "256x256"
    ImagesReply.model_validate(reply.model_dump(exclude_none=True))


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_formats_and_compression(client: openai.OpenAI, output_format: Any):
    sizes = []
    for compression in (5, 100):
        reply = client.images.generate(
            prompt="an avocado",
            output_format=output_format,
            output_compression=compression,
            size="512x512",
            extra_body={"seed": 3},
        )
        assert reply.data and reply.output_format == output_format
        file = base64.b64decode(reply.data[0].b64_json or "")
        assert file.startswith(MAGIC[output_format])
        sizes.append(len(file))
    assert sizes[0] < sizes[1]


def test_urls_and_base64(client: openai.OpenAI):
    (both,) = client.images.generate(prompt="an avocado").data or []
    assert both.url and both.b64_json
    assert httpx.get(both.url).content == base64.b64decode(both.b64_json)
    (only,) = client.images.generate(prompt="an avocado", response_format="url").data or []
    assert only.url and only.b64_json is None


def test_streams(client: openai.OpenAI):
    seen = 0
    for seed in range(3):  # previews that the decoder has no time for are skipped
        events = client.images.generate(
            prompt="an avocado", stream=True, partial_images=3, size="64x64", extra_body={"seed": seed}
        )
        *partials, completed = list(events)
        assert [event.type for event in partials] == ["image_generation.partial_image"] * len(partials)
        assert [getattr(event, "partial_image_index", None) for event in partials] == list(range(len(partials)))
        assert completed.type == "image_generation.completed"
        assert completed.usage and completed.usage.total_tokens
        assert all(decoded(event).size == (64, 64) for event in (*partials, completed))
        seen += len(partials)
    assert seen
    drawn = client.images.generate(prompt="an avocado", size="64x64", extra_body={"seed": 2})
    assert drawn.data and completed.b64_json == drawn.data[0].b64_json


def test_streams_without_previews_and_of_several_images(client: openai.OpenAI):
    (only,) = list(client.images.generate(prompt="an avocado", stream=True, partial_images=0))
    assert only.type == "image_generation.completed"
    with pytest.raises(openai.BadRequestError, match="only supported with n=1"):
        client.images.generate(prompt="an avocado", stream=True, n=2)
    several = client.images.generate(prompt="an avocado", stream=True, n=2, extra_body={"stream_multiple": True})
    assert [event.model_extra["image_index"] for event in several if event.model_extra] == [0, 1]


def test_edits(client: openai.OpenAI, tmp_path: Path):
    file = tmp_path / "picture.png"
    file.write_bytes(picture())
    mask = picture(alpha=0)
    for image in (file, io.BytesIO(picture()), [io.BytesIO(picture()), io.BytesIO(picture(64, 20))]):
        for more in ({}, {"mask": io.BytesIO(mask)}):
            reply = client.images.edit(image=image, prompt="an avocado", extra_body={"seed": 4}, **more)  # type: ignore[arg-type]
            assert reply.data and decoded(reply.data[0]).size == (32, 32)
            assert reply.usage and reply.usage.input_tokens_details.image_tokens == 64
            assert reply.usage.output_tokens == 32  # half of the picture
            if isinstance(image, io.BytesIO):
                image.seek(0)
            elif isinstance(image, list):
                [one.seek(0) for one in image]


def test_an_edit_keeps_what_it_is_told_to(client: openai.OpenAI):
    for fidelity, distance in (("high", 0), ("low", 255)):
        reply = client.images.edit(
            image=picture(32, 32), mask=picture(32, 32, alpha=0), prompt="an avocado", input_fidelity=fidelity
        )  # fmt: skip
        assert reply.data
        upper = decoded(reply.data[0]).convert("RGB").crop((0, 0, 32, 16))
        original = Image.open(io.BytesIO(picture(32, 32))).crop((0, 0, 32, 16))
        difference = max(abs(a - b) for a, b in zip(upper.tobytes(), original.tobytes(), strict=True))
        assert difference <= distance


def test_todays_names_and_an_edit_as_json(client: openai.OpenAI):
    """What applications hard-code, and what gateways in between make of an edit."""
    drawn = client.images.generate(
        prompt="an avocado", model="gpt-image-2.6-flare", size="1024x1024", quality="standard", style="vivid",
        moderation="low", background="opaque", extra_query={"api-version": "2026-10-01"},
    )  # fmt: skip
    assert drawn.data and decoded(drawn.data[0]).size == (1024, 1024) and drawn.quality == "standard"
    assert drawn.model_extra and drawn.model_extra["model"] == "tiny" == client.models.retrieve("dall-e-3").id
    files = (base64.b64encode(picture(alpha=alpha)).decode() for alpha in (None, 0))
    image, mask = ({"image_url": f"data:image/png;base64,{file}"} for file in files)
    body = {"prompt": "an avocado", "images": [image], "mask": mask, "moderation": "auto"}
    edited = client.post("/images/edits", body=body, cast_to=ImagesResponse)
    assert edited.usage and edited.usage.output_tokens == 32
    with pytest.raises(openai.BadRequestError, match="nothing is fetched") as refused:
        client.post("/images/edits", body=body | {"images": [{"image_url": "http://a/b"}]}, cast_to=ImagesResponse)
    assert refused.value.param == "images[0].image_url"
    with pytest.raises(openai.BadRequestError, match="plain ground") as opaque:
        client.images.generate(prompt="an avocado", background="transparent")
    assert opaque.value.param == "background"


def test_edits_stream(client: openai.OpenAI):
    seen = 0
    for seed in range(3):  # previews that the decoder has no time for are skipped
        wish: Any = {"image": picture(), "prompt": "an avocado", "extra_body": {"seed": seed}}
        *partials, completed = list(client.images.edit(stream=True, partial_images=2, **wish))
        assert [event.type for event in partials] == ["image_edit.partial_image"] * len(partials)
        assert [getattr(event, "partial_image_index", None) for event in partials] == list(range(len(partials)))
        assert all(decoded(event).size == (32, 32) for event in (*partials, completed))
        assert all(event.b64_json != completed.b64_json for event in partials)  # of which half is veiled
        assert completed.type == "image_edit.completed" and completed.usage and completed.usage.output_tokens == 32
        drawn = client.images.edit(**wish)
        assert drawn.data and completed.b64_json == drawn.data[0].b64_json
        seen += len(partials)
    assert seen


def test_variations(client: openai.OpenAI):
    with pytest.warns(DeprecationWarning):
        reply = client.images.create_variation(image=picture(), n=2, size="256x256")
    assert reply.data and [decoded(image).size for image in reply.data] == [(256, 256)] * 2


def test_unknown_fields_are_refused_in_json_and_in_forms(client: openai.OpenAI):
    for call in (
        lambda: client.images.generate(prompt="x", extra_body={"passes": 3}),
        lambda: client.images.edit(image=picture(), prompt="x", extra_body={"passes": 3}),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            call()
        assert (refused.value.code, refused.value.param) == ("unknown_parameter", "passes")


def test_every_layer_speaks_the_same_language(client: openai.OpenAI, service: LocalService):
    def assert_told(error: openai.APIStatusError, status: int, code: str) -> None:
        assert (error.status_code, error.code) == (status, code)
        assert error.type and error.message and error.request_id

    with pytest.raises(openai.NotFoundError) as router:
        client.with_options(base_url=f"{service.url}/nope").models.list()
    assert_told(router.value, 404, "not_found")
    with pytest.raises(openai.APIStatusError) as body_limit:
        client.images.generate(prompt="x" * 2 * 1024 * 1024)
    assert_told(body_limit.value, 413, "body_too_large")
    with pytest.raises(openai.BadRequestError) as decoder:
        client.images.edit(image=b"no picture", prompt="x")
    assert_told(decoder.value, 400, "invalid_value")
    assert decoder.value.param == "image"


def test_a_full_service_is_asked_three_times(
    client: openai.OpenAI, http: httpx.Client, service: LocalService, monkeypatch: pytest.MonkeyPatch
):
    waits: list[float] = []
    with stopped(replica(SAMPLER)):
        accepted = in_background(service, LARGEST)
        wait_until(lambda: pending_images(http) == 64, "the large request is let in")
        answers: list[httpx.Response] = []
        with (
            monkeypatch.context() as patched,
            httpx.Client(event_hooks={"response": [answers.append]}) as counted,
            pytest.raises(openai.RateLimitError) as refused,
        ):
            patched.setattr(time, "sleep", waits.append)
            client.copy(http_client=counted, max_retries=2).images.generate(prompt="x")
    assert refused.value.code == "rate_limit_exceeded" and refused.value.request_id
    assert [answer.status_code for answer in answers] == [429] * 3
    assert waits == [float(answer.headers["retry-after"]) for answer in answers[:2]]
    assert all(1 <= wait <= 30 for wait in waits)
    assert accepted.result().status_code == 200


def test_a_client_that_leaves_a_stream_ends_the_work(service: LocalService, http: httpx.Client):
    fields = LARGEST | {"response_format": None, "stream": True, "stream_multiple": True, "partial_images": 1}
    with stopped(replica(SAMPLER)):
        timeout = httpx.Timeout(10, read=1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(service.url + GENERATIONS, json=fields, timeout=timeout, headers=NO_STORE)
        wait_until(lambda: pending_images(http) == 0, "the place of the client that left is free")


def test_a_gateway_that_dies_is_told_in_the_envelope(client: openai.OpenAI, service: LocalService, http: httpx.Client):
    with stopped(replica(SAMPLER)):
        answer = in_background(service, LARGEST)
        wait_until(lambda: pending_images(http) == 64, "the request is under way")
        kill(replica("gateway"))
        reply = answer.result()
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["error"]["code"] == "service_unavailable" and reply.headers["x-request-id"]

    def is_back() -> bool:
        try:
            return http.get("/ready").json().get("ready", False)
        except httpx.TransportError:
            return False

    wait_until(is_back, "another gateway is there")
    assert client.images.generate(prompt="an avocado").data
