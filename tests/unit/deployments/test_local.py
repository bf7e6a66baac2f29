import os

import pytest

from deployments import local


def test_what_is_set_in_the_environment_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "environ", {"HF_HUB_OFFLINE": "0", "HOME": "/nowhere"})
    local.set_environment()
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_the_cause_is_found_in_a_traceback():
    traceback = """The deployment failed to start 3 times in a row. Error:
    ray::ServeReplica.initialize() (pid=1, ip=127.0.0.1)
      File "stages.py", line 3, in load
    model_core.errors.CorruptCheckpoint: vqgan/flax_model.msgpack is truncated.
    some more"""
    assert local._cause(["", traceback]) == "vqgan/flax_model.msgpack is truncated."
    assert local._cause(["first\nlast\n"]) == "last"
    assert local._cause([]) == "A stage did not start."
