import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from deployments import needs
from model_core.cache import cache_folder
from model_core.errors import DalleServeError

Usage = namedtuple("Usage", "total used free")


def test_trying_leaves_nothing(tmp_path: Path):
    assert needs.unwritable(tmp_path / "a" / "b") == ""
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_says_why(tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert needs.unwritable(tmp_path / "file" / "below") == "cannot be written (Not a directory)"
    assert needs.unwritable(Path("/proc/nohome/.cache")) == "cannot be written (No such file or directory)"


def test_a_full_disk_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(**options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(needs.tempfile, "TemporaryFile", full)
    assert needs.unwritable(tmp_path) == "cannot be written (No space left on device)"


def test_every_problem_names_its_file_and_a_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/proc/nohome")
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nohome/tmp")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv(needs.TOKEN_VARIABLE, raising=False)
    monkeypatch.delenv(needs.TOKEN_FILE_VARIABLE, raising=False)
    for problem, file, remedy in (
        (needs.token_problem(), "/proc/nohome/.ray/auth_token", "set HOME"),
        (needs.session_problem(), "/proc/nohome/tmp/ray", "set RAY_TMPDIR"),
        (needs.cache_problem(), "/proc/nohome/.cache/dalle-serve", "set XDG_CACHE_HOME"),
        (needs.shared_memory_problem(Path("/proc")), "/proc", "--shm-size"),
    ):
        assert file in problem and remedy in problem and "cannot be written" in problem


def test_a_path_that_is_too_long_for_sockets_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / ("x" * 100)).mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 100)))
    assert "too long for sockets" in needs.session_problem()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert needs.session_problem() == ""


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv(needs.TOKEN_VARIABLE, raising=False)
    monkeypatch.delenv(needs.TOKEN_FILE_VARIABLE, raising=False)

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(DalleServeError, match="set HOME, or XDG_CACHE_HOME"):
        cache_folder()
    assert "XDG_CACHE_HOME" in needs.cache_problem()
    assert needs.TOKEN_FILE_VARIABLE in needs.token_problem()


def test_little_shared_memory_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for free, words in ((64e6, "only 64 MB free"), (1e10, "")):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, free=free: Usage(10**12, 0, free))
        assert words in needs.shared_memory_problem(tmp_path)
        assert bool(words) == bool(needs.shared_memory_problem(tmp_path))
    assert needs.shared_memory_problem(tmp_path / "none") == ""


def test_rays_folder_is_where_ray_looks(monkeypatch: pytest.MonkeyPatch):
    from ray._common.utils import get_default_ray_temp_dir

    for variables in ({}, {"TMPDIR": "/var/tmp"}, {"TMPDIR": "/var/tmp", "RAY_TMPDIR": "/srv"}):
        for name in ("TMPDIR", "RAY_TMPDIR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert str(needs.ray_folder()) == get_default_ray_temp_dir()
    assert os.environ["RAY_TMPDIR"] == "/srv"
