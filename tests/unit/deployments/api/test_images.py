"""The routes that draw, over ASGI."""

import asyncio
import base64
import io
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from deployments.api.reply_schemas import Completed, ImagesReply, PartialImage
from deployments.api.routes import build_api
from deployments.config import AppConfig, FilesConfig, Limits
from deployments.errors import StageUnavailable
from tests.unit.deployments.api.fake_service import (
    EDITS,
    GENERATIONS,
    VARIATIONS,
    FakeService,
    ask,
    assert_envelope,
    events_of,
    png,
)


def draw(service: FakeService, **fields: Any) -> dict[str, Any]:
    reply = ask(service, "POST", GENERATIONS, json={"prompt": "avocado"} | fields, params={"api-version": "2024"})
    assert reply.status_code == 200, reply.text
    ImagesReply.model_validate(reply.json())
    return reply.json()


def post_form(path: str, files: list[tuple[str, Any]], service: FakeService | None = None, **texts: str) -> Any:
    return ask(service or FakeService(), "POST", path, files=files, data=texts)


@pytest.mark.parametrize(
    ("output_format", "magic"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")]
)
def test_an_image_comes_in_the_format_that_was_asked_for(output_format: str, magic: bytes):
    (image,) = draw(FakeService(), output_format=output_format, response_format="b64_json")["data"]
    assert base64.b64decode(image["b64_json"]).startswith(magic)
    assert "url" not in image


def test_urls_work_without_a_key_and_hold_the_same_file(tmp_path: Path):
    service = FakeService(url_folder=tmp_path)
    both = draw(service)["data"][0]
    assert both["url"].startswith("http://service/images/")
    reply = ask(service, "GET", httpx.URL(both["url"]).path, client=("10.0.0.1", 3))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
    assert reply.content == base64.b64decode(both["b64_json"])
    (only,) = draw(service, response_format="url", output_format="webp")["data"]
    assert only["url"].endswith(".webp") and "b64_json" not in only
    for name in ("nope.png", "..%2Fsecret", both["url"][-10:]):
        assert_envelope(ask(service, "GET", f"/images/{name}"), 404, "not_found")


def test_urls_are_refused_where_they_would_not_last():
    service = FakeService()
    assert "url" not in draw(service)["data"][0]
    reply = ask(service, "POST", GENERATIONS, json={"prompt": "a", "response_format": "url"})
    assert_envelope(reply, 400, "invalid_value")
    assert reply.json()["error"]["param"] == "response_format"


def test_a_public_address_is_put_in_front_of_urls(tmp_path: Path):
    config = AppConfig(files=FilesConfig(public_url="https://draw.example/api/"))
    (image,) = draw(FakeService(config, tmp_path))["data"]
    assert image["url"].startswith("https://draw.example/api/images/")


def test_a_stream_has_previews_and_then_the_image():
    service = FakeService()
    reply = ask(service, "POST", GENERATIONS, json={"prompt": "a", "stream": True, "partial_images": 3})
    assert reply.headers["content-type"].startswith("text/event-stream")
    *partials, completed = events_of(reply)
    assert [PartialImage.model_validate(event).partial_image_index for event in partials] == [0, 1, 2]
    assert Completed.model_validate(completed).usage.output_tokens == 4
    assert {event["type"] for event in partials} == {"image_generation.partial_image"}
    assert Image.open(io.BytesIO(base64.b64decode(completed["b64_json"]))).size == (2, 2)
    assert service.num_closed == 1


def test_without_previews_a_stream_is_one_event():
    (completed,) = events_of(ask(FakeService(), "POST", GENERATIONS, json={"prompt": "a", "stream": True}))
    assert completed["type"] == "image_generation.completed"


def test_a_stream_of_several_images_must_be_asked_for():
    reply = ask(FakeService(), "POST", GENERATIONS, json={"prompt": "a", "stream": True, "n": 2})
    assert_envelope(reply, 400, "invalid_value")
    assert "Streaming is only supported with n=1" in reply.json()["error"]["message"]
    fields = {"prompt": "a", "stream": True, "n": 2, "stream_multiple": True}
    events = events_of(ask(FakeService(), "POST", GENERATIONS, json=fields))
    assert [(event["image_index"], event["seed"]) for event in events] == [(0, 7), (1, 8)]
    assert sum(event["usage"]["total_tokens"] for event in events) == 7


def test_a_late_error_is_the_last_event():
    service = FakeService()
    service.error = StageUnavailable("a stage is down")
    fields = {"prompt": "a", "stream": True, "partial_images": 2}
    partial, error = events_of(ask(service, "POST", GENERATIONS, json=fields))
    assert partial["type"] == "image_generation.partial_image"
    assert error["error"]["code"] == "stage_unavailable"
    assert service.num_closed == 1


def test_openais_client_raises_a_late_error_out_of_its_loop():
    service = FakeService()
    service.error = StageUnavailable("a stage is down")

    async def watch() -> list[str]:
        transport = httpx.ASGITransport(build_api(service))
        async with (
            httpx.AsyncClient(transport=transport) as session,
            openai.AsyncOpenAI(base_url="http://service/v1", api_key="none", http_client=session) as client,
        ):
            seen = []
            with pytest.raises(openai.APIError, match="a stage is down") as raised:
                async for event in await client.images.generate(prompt="a", stream=True, partial_images=2):
                    seen.append(event.type)
            assert (raised.value.type, raised.value.code) == ("service_unavailable_error", "stage_unavailable")
            return seen

    assert asyncio.run(watch()) == ["image_generation.partial_image"]
    assert service.num_closed == 1


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]"])
def test_an_edit_takes_its_files_and_texts(name: str):
    service = FakeService()
    files = [(name, ("a.png", png())), ("mask", ("m", png(mode="RGBA", colour=0)))]
    reply = post_form(EDITS, files, service, prompt="a hat", n="2", stream="false", seed="5")
    ImagesReply.model_validate(reply.json())
    assert service.upload and service.upload.images == [png()] and service.upload.mask == png(mode="RGBA", colour=0)
    assert service.request and (service.request.n, service.request.seed, service.request.stream) == (2, 5, False)


def test_an_edit_takes_several_images_under_one_name():
    service = FakeService()
    for name in ("image", "image[]"):
        files = [(name, ("a.png", png())), (name, ("b.png", png(5, 5)))]
        assert post_form(EDITS, files, service, prompt="a hat").status_code == 200
        assert service.upload and service.upload.images == [png(), png(5, 5)]


def test_edits_stream_under_their_own_name():
    reply = post_form(EDITS, [("image", ("a.png", png()))], prompt="a", stream="true", partial_images="1")
    assert [event["type"] for event in events_of(reply)] == ["image_edit.partial_image", "image_edit.completed"]


def test_a_variation_needs_nothing_but_a_picture():
    service = FakeService()
    assert post_form(VARIATIONS, [("image[]", ("upload", png()))], service).status_code == 200
    assert service.request and service.request.prompt == ""


@pytest.mark.parametrize(
    ("path", "files", "texts", "code", "param"),
    [
        (EDITS, [("image", ("a", b"x"))], {}, "missing_required_parameter", "prompt"),
        (EDITS, [("mask", ("a", b"x"))], {"prompt": "a"}, "missing_required_parameter", "image"),
        (EDITS, [("image", ("a", b"x"))], {"prompt": "a", "passes": "3"}, "unknown_parameter", "passes"),
        (EDITS, [("image", ("a", b"x")), ("markup", ("b", b"x"))], {"prompt": "a"}, "unknown_parameter", "markup"),
        (EDITS, [("image", ("a", b"x"))], {"prompt": "a", "n": "two"}, "invalid_value", "n"),
        (EDITS, [("image", ("a", b"x"))], {"prompt": "a", "n": "２"}, "invalid_value", "n"),
        (EDITS, [("image", ("a", b"x"))], {"prompt": "a", "mask": "text"}, "invalid_value", "mask"),
        (EDITS, [("image", ("a", b"x"))] * 17, {"prompt": "a"}, "invalid_value", "image"),
        (EDITS, [("image", ("a", b"x"))] * 18, {"prompt": "a"}, "invalid_value", None),
        (EDITS, [("image", ("a", b"x")), ("mask", ("b", b"x")), ("mask", ("c", b"x"))], {"prompt": "a"},
         "invalid_value", "mask"),
        (VARIATIONS, [("image", ("a", b"x")), ("mask", ("b", b"x"))], {}, "unknown_parameter", "mask"),
        (VARIATIONS, [("image", ("a", b"x"))], {"style": "vivid"}, "unknown_parameter", "style"),
    ],
)  # fmt: skip
def test_a_wrong_form_is_refused_by_name(path: str, files: Any, texts: dict[str, str], code: str, param: str | None):
    reply = post_form(path, files, **texts)
    assert_envelope(reply, 400, code)
    assert reply.json()["error"]["param"] == param


def test_a_broken_or_large_form_is_refused():
    service = FakeService(AppConfig(limits=Limits(max_upload_bytes=4000)))
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    for body in (b"", b"nonsense", b"--x\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"):
        assert ask(service, "POST", EDITS, content=body, headers=multipart).status_code == 400
    assert_envelope(ask(service, "POST", EDITS, content=b"", headers={"content-type": "multipart/form-data"}), 400,
                    "invalid_value")  # fmt: skip
    assert_envelope(ask(service, "POST", EDITS, content=b"a", headers={"content-type": "text/plain"}), 415,
                    "unsupported_media_type")  # fmt: skip
    assert_envelope(ask(service, "POST", VARIATIONS, json={}), 415, "unsupported_media_type")
    reply = post_form(EDITS, [("image", ("a", bytes(5000)))], service, prompt="a")
    assert_envelope(reply, 413, "body_too_large")


def form_body(*parts: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"--x\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % part for part in parts)


def post_body(body: bytes, service: FakeService | None = None, content_type: str = "multipart/form-data; boundary=x"):
    return ask(service or FakeService(), "POST", EDITS, content=body, headers={"content-type": content_type})


IMAGE = (b'name="image"; filename="a.png"', png())
PROMPT, SEED = (b'name="prompt"', "ein süßer Hut".encode()), (b'name="seed"', b"5")


def test_a_form_is_taken_only_with_its_closing_boundary():
    service, whole = FakeService(), form_body(IMAGE, PROMPT, SEED)
    assert post_body(whole + b"--x--\r\n", service).status_code == 200
    assert service.request and (service.request.seed, service.request.prompt) == (5, "ein süßer Hut")
    for end in (b"--x--", b"--x--\r\n\r\n", b"--x--\r\nan epilogue"):
        assert post_body(whole + end).status_code == 200
    for cut in (whole + b"--x-", whole + b"--x", whole + b"--x\r\n", whole, whole[:-3], whole[:-20]):
        reply = post_body(cut)
        assert_envelope(reply, 400, "invalid_value")
        assert "closing boundary" in reply.json()["error"]["message"]


@pytest.mark.parametrize("content_type", ["", "; charset=latin-1", "; charset=nonsense", "; charset=rot13"])
def test_the_texts_of_a_form_are_utf_8(content_type: str):
    reply = post_body(
        form_body(IMAGE, (b'name="prompt"', "süß".encode("latin-1"))) + b"--x--\r\n",
        content_type=f"multipart/form-data; boundary=x{content_type}",
    )
    assert_envelope(reply, 400, "invalid_value")
    assert reply.json()["error"]["param"] == "prompt"
    assert "UTF-8; byte 1" in reply.json()["error"]["message"]
    service = FakeService()
    body = form_body(IMAGE, PROMPT) + b"--x--\r\n"
    assert post_body(body, service, f"multipart/form-data; boundary=x{content_type}").status_code == 200
    assert service.request and service.request.prompt == "ein süßer Hut"


def test_a_file_field_without_a_file_is_not_given():
    service, nothing = FakeService(), b'name="%s"; filename=""'
    files = (IMAGE, PROMPT, (nothing % b"mask", b""), (nothing % b"image[]", b""), (nothing % b"other", b""))
    assert post_body(form_body(*files) + b"--x--\r\n", service).status_code == 200
    assert service.upload and (service.upload.images, service.upload.mask) == ([png()], None)
    assert service.upload.empty == ()
    reply = post_body(form_body((nothing % b"image", b""), PROMPT) + b"--x--\r\n")
    assert_envelope(reply, 400, "missing_required_parameter")


@pytest.mark.parametrize("filename", ["mask.png", "upload", "blob", "C:\\\\mask.png"])
def test_a_file_without_a_byte_is_not_given_and_told(filename: str):
    service, head = FakeService(), b'name="%s"; filename="' + filename.encode() + b'"\r\nContent-Type: image/png'
    files = (IMAGE, PROMPT, (head % b"mask", b""), (head % b"image[]", b""), (head % b"other", b""))
    assert post_body(form_body(*files) + b"--x--\r\n", service).status_code == 200
    assert service.upload and (service.upload.images, service.upload.mask) == ([png()], None)
    assert service.upload.empty == ("mask", "image[]", "other")
    reply = post_body(form_body((head % b"image", b""), PROMPT) + b"--x--\r\n")
    assert_envelope(reply, 400, "missing_required_parameter")
    assert "no bytes" in reply.json()["error"]["message"]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_a_json_body_holds_no_number_that_json_does_not_have(constant: str):
    content = f'{{"prompt": "a", "top_p": {constant}}}'
    reply = ask(FakeService(), "POST", GENERATIONS, content=content, headers={"content-type": "application/json"})
    assert_envelope(reply, 400, "invalid_value")
    assert constant in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "content_type", ["", "; boundary=", "; boundary=\xfc", "; boundary=x; charset=a\0b", "; boundary*=x"]
)
def test_a_form_whose_header_says_nonsense_is_refused(content_type: str):
    body = form_body(IMAGE, PROMPT) + b"--x--\r\n"
    headers = {"content-type": f"multipart/form-data{content_type}".encode("latin-1")}
    assert_envelope(ask(FakeService(), "POST", EDITS, content=body, headers=headers), 400, "invalid_value")
