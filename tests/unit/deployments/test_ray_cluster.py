"""How a start that fails is told, and tried again: with starts that fail as Ray's do."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
from ray._private import services
from ray.exceptions import ActorDiedError, AuthenticationError, GetTimeoutError, LocalRayletDiedError

from deployments import needs, ray_cluster
from deployments.errors import ServiceStartError

TOO_SLOW = Exception(
    "The current node timed out during startup. This could happen because some of the raylet failed to startup or the "
    "GCS has become overloaded."
)


class Start:
    """A start that fails with one error after another, then does its work."""

    def __init__(self, *errors: Exception):
        self.errors = list(errors)
        self.said: list[str] = []
        self.undone = 0

    def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "started"

    def undo(self) -> None:
        self.undone += 1


def run(start: Start) -> str:
    return ray_cluster.started_in_time(start, start.undo, start.said.append)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return lambda load: monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))


@pytest.fixture(autouse=True)
def no_sessions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path / "ray"


@pytest.mark.parametrize(
    "fault", [TOO_SLOW, GetTimeoutError("x"), TimeoutError(), LocalRayletDiedError(), ActorDiedError()]
)
def test_what_was_too_slow_is_tried_again(fault: Exception):
    start = Start(fault, fault)
    assert run(start) == "started"
    assert start.undone == len(start.said) == 2
    assert all("trying again" in line for line in start.said)


def test_the_third_fault_is_the_last(load: Callable[[float], None], no_sessions: Path):
    load(200 * (os.cpu_count() or 1))
    for date in ("2026-11-30_06-15-59_452096", "2026-11-30_06-18-35_647704", "2026-12-01_00-00-00_000000"):
        process = 1 if date.startswith("2026-12") else os.getpid()  # the last is another one's
        (no_sessions / f"session_{date}_{process}" / "logs").mkdir(parents=True)
    start = Start(TOO_SLOW, TOO_SLOW, TOO_SLOW)
    with pytest.raises(ServiceStartError) as raised:
        run(start)
    assert start.undone == 2
    words = str(raised.value)
    assert "3 times" in words and "timed out" in words
    assert "The machine is busy" in words and "when less else runs" in words
    assert f"session_2026-11-30_06-18-35_647704_{os.getpid()}/logs" in words


def test_a_quiet_machine_is_not_called_busy(load: Callable[[float], None]):
    load(0.1)
    with pytest.raises(ServiceStartError) as raised:
        run(Start(TOO_SLOW, TOO_SLOW, TOO_SLOW))
    assert "busy" not in str(raised.value) and "logs" not in str(raised.value)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (PermissionError(13, "Permission denied", "/tmp/ray"), "Permission denied: '/tmp/ray'"),
        (ValueError("num_cpus must be positive"), "num_cpus must be positive."),
        (AuthenticationError("the token is wrong"), "the token is wrong"),
        (ServiceStartError("a stage has no model"), "^a stage has no model$"),
    ],
)
def test_what_time_does_not_heal_is_not_tried_again(fault: Exception, words: str):
    start = Start(fault)
    with pytest.raises(ServiceStartError, match=words):
        run(start)
    assert not start.said and not start.undone


def test_rays_processes_get_groups_of_their_own():
    with ray_cluster._groups_of_their_own():
        process = services.ConsolePopen(["sleep", "60"])
    try:
        assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    finally:
        process.kill()
        process.wait()
    assert services.ConsolePopen.__name__ == "ConsolePopen"


def test_rays_handler_of_sigterm_goes_also_where_it_does_not_start(monkeypatch: pytest.MonkeyPatch):
    def init(**options: object) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: pytest.fail("Ray's"))
        raise TOO_SLOW

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(Exception, match="timed out"):
        ray_cluster.start_ray()
    assert signal.getsignal(signal.SIGTERM) == before


# Ray's token.


@pytest.fixture
def token_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without a token."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(needs.TOKEN_VARIABLE, "")  # so that it is given back
    monkeypatch.delenv(needs.TOKEN_FILE_VARIABLE, raising=False)
    return tmp_path


def test_a_token_can_be_written(token_asked_for: Path):
    assert needs.token_problem() == ""
    assert not list(token_asked_for.iterdir())  # nothing was left by trying


def test_where_no_token_can_be_written_one_run_has_its_own(token_asked_for: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/proc/nohome")
    said: list[str] = []
    ray_cluster.prepare_token(said.append)
    assert len(os.environ[needs.TOKEN_VARIABLE]) == 64
    assert "/proc/nohome/.ray/auth_token" in said[0] and needs.TOKEN_FILE_VARIABLE in said[0]
    ray_cluster.prepare_token(pytest.fail)  # it has one now


def test_a_token_file_that_was_named_must_be_there(token_asked_for: Path, monkeypatch: pytest.MonkeyPatch):
    file = token_asked_for / "token"
    monkeypatch.setenv(needs.TOKEN_FILE_VARIABLE, str(file))
    with pytest.raises(ServiceStartError, match=r"token, Ray's token, cannot be read \(No such file"):
        ray_cluster.prepare_token(pytest.fail)
    file.write_text("\n")
    with pytest.raises(ServiceStartError, match="is empty"):
        ray_cluster.prepare_token(pytest.fail)
    file.write_text("abc")
    ray_cluster.prepare_token(pytest.fail)


def test_who_asks_for_no_token_needs_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/proc/nohome")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert needs.token_problem() == ""
