from pathlib import Path

import pytest

from deployments.gateway.watched_file import CHECK_EVERY_S, WatchedFile
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


def test_it_must_be_good_to_begin_with(tmp_path: Path):
    with pytest.raises(DalleServeError, match="cannot be read"):
        WatchedFile(tmp_path / "absent", number)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DalleServeError, match="no number"):
        WatchedFile(tmp_path / "file", number)
