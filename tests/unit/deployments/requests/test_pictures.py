"""Edits whose pictures come in a JSON body."""

from typing import Any

import pytest

from deployments.api.reply_schemas import ImagesReply
from deployments.config import AppConfig, Limits
from tests.unit.deployments.api.fake_service import EDITS, FakeService, ask, assert_envelope, data_url, events_of, png

IMAGE = {"image_url": data_url(png())}


def edit(service: FakeService | None = None, **fields: Any) -> Any:
    return ask(service or FakeService(), "POST", EDITS, json={"prompt": "a hat", "images": [IMAGE]} | fields)


def test_pictures_and_fields_arrive_as_those_of_a_form_do():
    service, mask = FakeService(), png(mode="RGBA", colour=0)
    pictures = {
        "images": [IMAGE, {"image_url": data_url(png(5, 5), "image/webp")}],
        "mask": {"image_url": data_url(mask), "file_id": None},
    }
    reply = edit(service, **pictures, n=2, seed=5, moderation="low", user=None)
    ImagesReply.model_validate(reply.json())
    assert service.upload and (service.upload.images, service.upload.mask) == ([png(), png(5, 5)], mask)
    assert service.request and (service.request.prompt, service.request.n, service.request.seed) == ("a hat", 2, 5)
    assert not service.request.images  # type: ignore[attr-defined]  # what was decoded is not kept twice


def test_they_stream_under_the_name_of_edits():
    (completed,) = events_of(edit(stream=True))
    assert completed["type"] == "image_edit.completed"


def test_base64_may_be_escaped_as_urls_are():
    service = FakeService()
    escaped = data_url(png()).replace("+", "%2B").replace("=", "%3D")
    assert edit(service, images=[{"image_url": escaped}]).status_code == 200
    assert service.upload and service.upload.images == [png()]


@pytest.mark.parametrize(
    ("fields", "code", "param", "said"),
    [
        ({"images": None}, "missing_required_parameter", "images", "images"),
        ({"images": []}, "invalid_value", "images", "at least 1"),
        ({"images": [IMAGE] * 17}, "invalid_value", "images", "at most 16"),
        ({"images": "data:,"}, "invalid_value", "images", "list"),
        ({"images": [{}]}, "missing_required_parameter", "images[0].image_url", "images[0].image_url"),
        ({"images": [IMAGE, {"file_id": "file-1"}]}, "invalid_value", "images[1].file_id", "There is no file 'file-1'"),
        ({"images": [{"image_url": "https://elsewhere/a.png"}]}, "invalid_value", "images[0].image_url", "fetched"),
        ({"images": [{"image_url": "data:image/png,abc"}]}, "invalid_value", "images[0].image_url", "as base64"),
        ({"images": [{"image_url": "data:image/png;base64,a*c="}]}, "invalid_value", "images[0].image_url", "base64"),
        ({"images": [{"url": "data:"}]}, "invalid_value", "images[0].url", "Extra"),
        ({"mask": {"image_url": "file:///etc/passwd"}}, "invalid_value", "mask.image_url", "data:"),
        ({"image": "data:"}, "unknown_parameter", "image", "images"),
        ({"style": "vivid"}, "unknown_parameter", "style", "style"),
        ({"moderation": "high"}, "invalid_value", "moderation", "low"),
        ({"n": "2"}, "invalid_value", "n", "integer"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused_by_name(fields: dict[str, Any], code: str, param: str, said: str):
    reply = edit(**fields)
    assert_envelope(reply, 400, code)
    error = reply.json()["error"]
    assert error["param"] == param and said in error["message"]


def test_a_long_picture_is_bounded_as_an_upload_is():
    service = FakeService(AppConfig(limits=Limits(max_upload_bytes=4000, max_body_bytes=1024)))
    assert edit(service, user="x" * 500, negative_prompt="x" * 1500).status_code == 200  # more than other JSON may have
    assert_envelope(edit(service, images=[{"image_url": data_url(bytes(5000))}]), 413, "body_too_large")
