import os
from pathlib import Path

import pytest

from deployments import local


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert local.cache_folder() == tmp_path / "dalle-serve"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert local.cache_folder().is_relative_to(Path.home())


def test_what_is_set_in_the_environment_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "environ", {"HF_HUB_OFFLINE": "0", "HOME": "/nowhere"})
    local.set_environment()
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)]
)
def test_loopback(host: str, loopback: bool):
    assert local.is_loopback(host) == loopback


def test_a_free_port_is_free():
    assert local.is_free("127.0.0.1", local.free_port())


def test_the_cause_is_found_in_a_traceback():
    traceback = """The deployment failed to start 3 times in a row. Error:
    ray::ServeReplica.initialize() (pid=1, ip=127.0.0.1)
      File "stages.py", line 3, in load
    model_core.errors.CorruptCheckpoint: vqgan/flax_model.msgpack is truncated.
    some more"""
    assert local._cause(["", traceback]) == "vqgan/flax_model.msgpack is truncated."
    assert local._cause(["first\nlast\n"]) == "last"
    assert local._cause([]) == "A stage did not start."
