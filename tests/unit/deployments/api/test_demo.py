"""The demo's front ends, by what they send and what they read."""

import base64
import io
from pathlib import Path

from PIL import Image

from deployments.api.reply_schemas import DemoReply, DemoVersion
from deployments.config import AccessConfig, AppConfig
from tests.unit.deployments.api.fake_service import FakeService, ask, assert_envelope

RECORDED = b'{"prompt":"avocado armchair flying into space"}'  # the body that the demo's page posts


def test_nine_pictures_come_as_the_page_reads_them():
    reply = ask(FakeService(), "POST", "/generate", content=RECORDED, headers={"content-type": "application/json"})
    assert reply.status_code == 200
    shown = DemoReply.model_validate(reply.json())
    pictures = [Image.open(io.BytesIO(base64.b64decode(image, validate=True))) for image in shown.images]
    assert [picture.size for picture in pictures] == [(2, 2)] * 9
    version = DemoVersion.model_validate(ask(FakeService(), "GET", "/version").json())
    assert version.version == shown.version and "emoji" in shown.version


def test_what_is_wrong_is_said(tmp_path: Path):
    assert_envelope(ask(FakeService(), "POST", "/generate", json={}), 400, "missing_required_parameter")
    assert_envelope(ask(FakeService(), "POST", "/generate", json={"prompt": "a", "n": 3}), 400, "unknown_parameter")
    file = tmp_path / "keys"
    file.write_text("a-key-of-some-length\n")
    service = FakeService(AppConfig(access=AccessConfig(keys_file=str(file))))
    assert_envelope(ask(service, "POST", "/generate", json={"prompt": "a"}), 401, "invalid_api_key")
    basic = {"authorization": "Basic " + base64.b64encode(b"demo:a-key-of-some-length").decode()}
    assert ask(service, "POST", "/generate", json={"prompt": "a"}, headers=basic).status_code == 200
