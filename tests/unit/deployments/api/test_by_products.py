"""A by-product that fails never fails the result: each cause × what is asked for × the reply."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.api.reply_schemas import Completed, ImagesReply, Readiness
from deployments.config import AccessConfig, AppConfig
from deployments.errors import DeadlineExceeded, StageFailed, StageUnavailable, UrlsUnavailable
from deployments.telemetry import degraded
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

KEY = "a-key-of-some-length"
Break = Callable[[Path, pytest.MonkeyPatch], Path]


def fail(monkeypatch: pytest.MonkeyPatch, method: str, code: int, *, half_done: bool = False) -> None:
    whole = getattr(Path, method)

    def failing(path: Path, *args: Any, **options: Any) -> Any:
        if path.parent.name != "images" and path.name != "images":
            return whole(path, *args, **options)
        if half_done:
            path.touch()
        raise OSError(code, "no")

    monkeypatch.setattr(Path, method, failing)


def no_such_file_system(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return Path("/proc/nocache/images")


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fail(monkeypatch, "mkdir", errno.EROFS)
    return folder


def of_another_owner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir()
    fail(monkeypatch, "write_bytes", errno.EACCES)
    return folder


def full_from_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fail(monkeypatch, "write_bytes", errno.ENOSPC, half_done=True)
    return folder


def quota_used_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fail(monkeypatch, "write_bytes", errno.EDQUOT, half_done=True)
    return folder


def cannot_be_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fail(monkeypatch, "iterdir", errno.EACCES)
    return folder


def cannot_be_renamed_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fail(monkeypatch, "rename", errno.EIO)
    return folder


def a_file_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.write_text("no folder")
    return folder


def its_parent_is_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.write_text("no folder")
    return folder / "images"


def a_link_to_nowhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.symlink_to("/proc/nocache")
    return folder


CAUSES = [
    no_such_file_system,
    read_only,
    of_another_owner,
    full_from_the_start,
    quota_used_up,
    cannot_be_listed,
    cannot_be_renamed_in,
    a_file_is_there,
    its_parent_is_a_file,
    a_link_to_nowhere,
]


def with_key(folder: Path, tmp_path: Path, images_a_minute: int) -> tuple[FakeService, dict[str, str]]:
    """A service whose only key may have so many images, and that key's header."""
    (tmp_path / "keys").write_text(f"{KEY} {images_a_minute}\n")
    access = AccessConfig(keys_file=str(tmp_path / "keys"))
    return FakeService(AppConfig(access=access), folder), {"authorization": f"Bearer {KEY}"}


def post(service: FakeService, path: str, headers: dict[str, str], **fields: str) -> httpx.Response:
    if path == GENERATIONS:
        return ask(service, "POST", path, json={"prompt": "a"} | fields, headers=headers)
    texts = {"prompt": "a"} | fields
    return ask(service, "POST", path, files=[("image", ("a.png", png()))], data=texts, headers=headers)


@pytest.mark.parametrize("path", [GENERATIONS, EDITS, VARIATIONS])
@pytest.mark.parametrize("cause", CAUSES)
def test_without_the_folder_of_urls_only_urls_are_refused(
    cause: Break, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = cause(tmp_path / "images", monkeypatch)
    service, key = with_key(folder, tmp_path, 2)
    refused = post(service, path, key, response_format="url")
    assert_envelope(refused, 503, "urls_unavailable")
    assert "b64_json" in refused.json()["error"]["message"] and str(tmp_path) not in refused.text
    assert refused.headers["retry-after"] and service.request is None  # nothing was drawn
    both = post(service, path, key)
    reply = ImagesReply.model_validate(both.json())
    assert both.status_code == 200 and reply.data[0].b64_json and reply.data[0].url is None
    assert reply.warning and "no image URLs" in reply.warning
    asked = post(service, path, key, response_format="b64_json")
    assert asked.status_code == 200 and "warning" not in asked.json()
    assert_envelope(post(service, path, key), 429, "rate_limit_exceeded")  # two were paid for, not three
    monkeypatch.undo()
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".part"]


def test_a_stream_needs_no_urls():
    service = FakeService(url_folder=Path("/proc/nocache/images"))
    (completed,) = events_of(ask(service, "POST", GENERATIONS, json={"prompt": "a", "stream": True}))
    assert Completed.model_validate(completed).b64_json and "warning" not in completed


def test_a_folder_that_vanishes_is_made_again(tmp_path: Path):
    service = FakeService(url_folder=tmp_path / "images")
    for _ in range(2):
        for wish in ({}, {"response_format": "url"}):
            reply = ask(service, "POST", GENERATIONS, json={"prompt": "a"} | wish).json()
            assert "warning" not in reply and reply["data"][0]["url"]
        shutil.rmtree(tmp_path / "images")


def test_what_is_found_out_too_late_is_refused_after_the_drawing_and_not_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    service, key = with_key(tmp_path / "images", tmp_path, 3)
    draw = service.draw

    async def draw_and_lose_the_folder(*args: Any) -> Any:
        reply = await draw(*args)
        fail(monkeypatch, "mkdir", errno.EROFS)
        return reply

    monkeypatch.setattr(service, "draw", draw_and_lose_the_folder)
    fields = {"prompt": "a", "n": 3, "response_format": "url"}
    assert_envelope(ask(service, "POST", GENERATIONS, json=fields, headers=key), 503, "urls_unavailable")
    assert service.request is not None
    monkeypatch.undo()
    assert ask(service, "POST", GENERATIONS, json=fields, headers=key).status_code == 200


def test_a_warning_that_is_there_already_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    service = FakeService(url_folder=Path("/proc/nocache/images"))
    reply_to = service._reply
    monkeypatch.setattr(service, "_reply", lambda *args: reply_to(*args) | {"warning": "The scorer is down."})
    warning = ask(service, "POST", GENERATIONS, json={"prompt": "a"}).json()["warning"]
    assert warning.startswith("The scorer is down. There are no image URLs")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "error",
    [RuntimeError("no"), StageFailed("no"), StageUnavailable("no"), DeadlineExceeded("no"), UrlsUnavailable("no")],
    ids=lambda error: type(error).__name__,
)
def test_where_nothing_is_delivered_nothing_is_paid(error: Exception, stream: bool, tmp_path: Path):
    service, key = with_key(tmp_path / "images", tmp_path, 2)
    fields = {"prompt": "a", "n": 2, "stream": stream, "stream_multiple": stream}
    for _ in range(2):
        service.error = error
        assert ask(service, "POST", GENERATIONS, json=fields, headers=key).status_code in (408, 500, 503)
    service.error = None
    assert ask(service, "POST", GENERATIONS, json=fields, headers=key).status_code == 200
    assert_envelope(ask(service, "POST", GENERATIONS, json=fields, headers=key), 429, "rate_limit_exceeded")


def test_a_stream_that_fails_late_is_not_paid_for(tmp_path: Path):
    service, key = with_key(tmp_path / "images", tmp_path, 1)
    fields = {"prompt": "a", "stream": True, "partial_images": 1}
    service.error = StageUnavailable("a stage is down")
    partial, error = events_of(ask(service, "POST", GENERATIONS, json=fields, headers=key))
    assert partial["type"] == "image_generation.partial_image" and error["error"]["code"] == "stage_unavailable"
    service.error = None
    assert ask(service, "POST", GENERATIONS, json=fields, headers=key).status_code == 200


def test_what_fails_is_said_until_it_works(tmp_path: Path):
    service = FakeService(url_folder=tmp_path / "taken" / "images")
    (tmp_path / "taken").write_text("")
    ask(service, "POST", GENERATIONS, json={"prompt": "a"})
    (said,) = degraded.warnings()
    assert said.startswith("image_urls: ") and str(tmp_path) not in said
    Readiness.model_validate(
        {"ready": True, "model": "a", "stages": {}, "pending_images": 0, "seconds_an_image": 1.0, "warnings": [said]}
    )
    (tmp_path / "taken").unlink()
    ask(service, "POST", GENERATIONS, json={"prompt": "a"})
    assert degraded.warnings() == [] and degraded.reasons() == {"image_urls": ""}
