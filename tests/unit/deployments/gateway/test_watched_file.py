import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.gateway.watched_file import CHECK_EVERY_S, WatchedFile
from deployments.telemetry import degraded
from model_core.errors import DalleServeError


class Clock:
    """Stands still until told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def number(text: str) -> int:
    if not text.isdigit():
        raise DalleServeError("no number")
    return int(text)


def test_a_change_is_seen_after_a_while_and_only_what_is_good_counts(tmp_path: Path):
    clock, file = Clock(), tmp_path / "number"
    file.write_text("1")
    watched = WatchedFile(file, number, clock)
    for text, content in (("22", 22), ("x", 22), ("333", 333)):
        file.write_text(text)
        clock.now += CHECK_EVERY_S
        assert watched.content == content
    file.write_text("4444")
    assert watched.content == 333  # looked at a moment ago
    file.unlink()
    clock.now += CHECK_EVERY_S
    assert watched.content == 333


def unreadable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: (_ for _ in ()).throw(PermissionError(13, "no")))
    file.write_text("22")


def no_text(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(b"\xff\xfe\x00")


def a_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.unlink()
    file.mkdir()


def gone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.unlink()


def its_folder_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(file.parent)


def nonsense(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("x")


def what_no_list_foresees(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("999999")


@pytest.mark.parametrize("harm", [unreadable, no_text, a_folder, gone, its_folder_too, nonsense, what_no_list_foresees])
def test_whatever_becomes_of_the_file_the_last_good_content_stays_until_it_is_good_again(
    harm: Callable[[Path, pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock, file = Clock(), tmp_path / "folder" / "number"
    file.parent.mkdir()
    file.write_text("1")

    def read(text: str) -> int:
        if text == "999999":
            raise RecursionError
        return number(text)

    watched = WatchedFile(file, read, clock)
    with monkeypatch.context() as patch:
        harm(file, patch)
        for _ in range(3):
            clock.now += CHECK_EVERY_S
            assert watched.content == 1
        (said,) = degraded.warnings()
        assert said.startswith("number: ") and str(tmp_path) not in said
    if harm is not unreadable:  # whose file is as it was, and can be read now
        shutil.rmtree(file.parent, ignore_errors=True)
        file.parent.mkdir()
        file.write_text("22")
    clock.now += CHECK_EVERY_S
    assert watched.content == 22
    assert degraded.warnings() == []


def test_it_must_be_good_to_begin_with(tmp_path: Path):
    with pytest.raises(DalleServeError, match="cannot be read"):
        WatchedFile(tmp_path / "absent", number)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DalleServeError, match="no number"):
        WatchedFile(tmp_path / "file", number)
    for odd in (tmp_path, Path("~nobody-of-that-name/file"), Path("a\0b")):
        with pytest.raises(DalleServeError, match="cannot be read"):
            WatchedFile(odd, number)
