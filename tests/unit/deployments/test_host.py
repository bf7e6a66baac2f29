from pathlib import Path

import pytest

from deployments import host


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert host.cache_folder() == tmp_path / "dalle-serve"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert host.cache_folder().is_relative_to(Path.home())


@pytest.mark.parametrize(
    ("address", "loopback"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)]
)
def test_loopback(address: str, loopback: bool):
    assert host.is_loopback(address) == loopback


def test_a_free_port_is_free():
    assert host.is_free("127.0.0.1", host.free_port())
