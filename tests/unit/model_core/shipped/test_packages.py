"""Packages, fetched by stand-ins for the npm client that each test writes as a shell script."""

import tarfile
from pathlib import Path

import pytest

from model_core.shipped import packages
from model_core.shipped.packages import PackageError, fetch, read_json


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Makes `npm` a shell script; it is called as `npm pack NAME@VERSION --pack-destination FOLDER`."""
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setattr(packages.shutil, "which", lambda name: str(folder / name))


def test_an_archive_is_fetched_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path):
    stand_in(monkeypatch, tmp_path, 'echo "$1 $2" > "$4/some-pictures-1.2.3.tgz"')
    archive = fetch("@some/pictures", "1.2.3", cache)
    assert archive.read_text() == "pack @some/pictures@1.2.3\n"
    stand_in(monkeypatch, tmp_path, "exit 1")
    assert fetch("@some/pictures", "1.2.3", cache) == archive
    assert list(cache.iterdir()) == [archive]


@pytest.mark.parametrize(
    ("script", "message"), [("echo no such version >&2; exit 1", "no such version"), ("exit 0", "did not leave")]
)
def test_a_failure_of_npm_is_told_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path, script: str, message: str
):
    stand_in(monkeypatch, tmp_path, script)
    with pytest.raises(PackageError, match=message):
        fetch("pictures", "9.9.9", cache)
    assert list(cache.iterdir()) == []


def test_npm_has_a_deadline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path):
    stand_in(monkeypatch, tmp_path, "exec sleep 60")
    monkeypatch.setattr(packages, "FETCH_TIMEOUT_S", 0.1)
    with pytest.raises(PackageError, match=r"within 0\.1 s"):
        fetch("pictures", "1.0.0", cache)


def test_a_missing_npm_is_told(monkeypatch: pytest.MonkeyPatch, cache: Path):
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(PackageError, match="Install Node"):
        fetch("pictures", "1.0.0", cache)


def test_a_file_that_is_not_in_the_archive_is_named(tmp_path: Path):
    with tarfile.open(tmp_path / "empty.tgz", "w:gz"):
        pass
    with pytest.raises(PackageError, match=r"icons\.json"):
        read_json(tmp_path / "empty.tgz", "icons.json")
