"""What can be made again is kept where the user, or else the system, wants it."""

from pathlib import Path

import pytest

from model_core.cache import cache_folder


def test_the_users_folder_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dalle-serve"


@pytest.mark.parametrize(("platform", "folder"), [("linux", ".cache"), ("darwin", "Library/Caches")])
def test_else_it_is_the_systems(monkeypatch: pytest.MonkeyPatch, platform: str, folder: str):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("sys.platform", platform)
    assert cache_folder() == Path.home() / folder / "dalle-serve"
