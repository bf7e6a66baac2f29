import json
import shutil
import socket
import subprocess
from collections import namedtuple
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import checks as doctor
from deployments.cli import main as cli
from model_core.errors import DalleServeError

GIB = 2**30
PART = {"num_params": GIB // 4, "bytes": GIB, "seconds": 0.1}
SAMPLER = PART | {"slot_bytes": GIB // 8, "text_bytes": GIB // 8}
FOUND = {
    "devices": [{"platform": "cpu", "kind": "cpu", "memory_bytes": None}],
    "process_bytes": GIB,
    "parts": dict.fromkeys(("text", "codec", "scorer"), PART) | {"sampler": SAMPLER},
}
Usage = namedtuple("Usage", "total used free")

pytestmark = pytest.mark.usefixtures("given_back_environment")


def test_the_packages_here_are_those_that_are_needed():
    assert {finding.status for finding in doctor.check_versions()} == {"good"}


def test_a_missing_and_a_wrong_package_are_named(monkeypatch: pytest.MonkeyPatch):
    needed = ["no-such-package>=1", "numpy>=1000", "httpx", "locust>=1000; extra == 'loadtest'"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: needed)
    _, packages = doctor.check_versions()
    assert packages.status == "bad"
    assert "no-such-package is missing" in packages.message and ">=1000" in packages.message
    assert "locust" not in packages.message and "httpx" not in packages.message


def test_a_port_is_free_or_taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        taken = doctor.check_port("127.0.0.1", port)
        assert taken.status == "bad" and "taken" in taken.message and "--port" in taken.advice
    assert doctor.check_port("127.0.0.1", port).status == "good"


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.name.invalid"])
def test_an_address_that_is_not_here_is_bad(host: str):
    finding = doctor.check_port(host, 8053)
    assert finding.status == "bad" and host in finding.message and "taken" not in finding.message


def test_little_room_is_doubtful(monkeypatch: pytest.MonkeyPatch):
    for free, status in ((10**8, "doubtful"), (10**10, "good")):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, free=free: Usage(10**12, 0, free))
        assert doctor.check_disk().status == status
        found = {finding.subject: finding.status for finding in doctor.check_folders()}
        assert found["shared memory"] == status


def test_what_cannot_be_written_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "shared_memory_problem", lambda: "")
    assert {finding.status for finding in doctor.check_folders()} == {"good"}
    for name in ("HOME", "XDG_CACHE_HOME", "RAY_TMPDIR"):
        monkeypatch.setenv(name, "/proc/nohome")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    found = {finding.subject: finding for finding in doctor.check_folders()}
    assert (found["token"].status, found["sessions"].status, found["cache"].status) == ("doubtful", "bad", "doubtful")
    assert all("/proc/nohome" in found[subject].message for subject in ("token", "sessions", "cache"))
    assert doctor.check_disk().status == "bad"


def test_a_busy_machine_is_doubtful(monkeypatch: pytest.MonkeyPatch):
    for load, status in ((0.0, "good"), (1000.0, "doubtful")):
        monkeypatch.setattr(doctor.os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert doctor.check_load().status == status


@pytest.mark.parametrize(
    ("free_gib", "status", "words"),
    [(10.0, "bad", "5 slots of 256 MiB: 1.2 GiB"), (11.0, "good", "; 6 slots would fit"), (12.0, "good", "10 slots")],
)
def test_memory_is_compared_with_what_all_stages_need(
    monkeypatch: pytest.MonkeyPatch, free_gib: float, status: str, words: str
):
    # Four stages: 4 processes of 1 GiB with 1 GiB of weights, five slots of a quarter, and Ray.
    monkeypatch.setattr(doctor, "free_memory", lambda: free_gib * GIB)
    finding = doctor.check_memory(FOUND)
    assert finding.status == status and words in finding.message and "sampler 1.0 GiB" in finding.message


@pytest.mark.parametrize(
    ("memory_gib", "status", "words"),
    [
        (None, None, ""),
        (2, "bad", "in bfloat16 all weights take 2.0 GiB, and a slot 128 MiB: they do not fit"),
        (4, "good", "12 slots fit beside them; in float32 all weights take 4.0 GiB, and a slot 256 MiB: they do not"),
    ],
)
def test_an_accelerator_is_asked_what_fits(memory_gib: int | None, status: str | None, words: str):
    device = {"platform": "gpu", "kind": "L4", "memory_bytes": memory_gib and memory_gib * GIB}
    found = list(doctor.check_device_memory(FOUND | {"devices": [device]}))
    assert [finding.status for finding in found] == ([status] if status else [])
    assert all(words in finding.message for finding in found)


def test_what_was_not_loaded_is_said(monkeypatch: pytest.MonkeyPatch):
    found = FOUND | {"parts": FOUND["parts"] | {"sampler": SAMPLER | {"seconds": None}}}
    monkeypatch.setattr(doctor, "inspect_model", lambda model, scorer: found)
    model, *_ = doctor.check_model("emoji")
    assert model.status == "good" and "sampler not loaded, for want of memory" in model.message


def test_an_accelerator_is_told_with_its_memory():
    devices = [{"platform": "gpu", "kind": "H100", "memory_bytes": 40 * GIB}] * 2
    assert doctor.check_devices(devices).message == "2 × H100 with 80.0 GiB"
    assert "CPU cores" in doctor.check_devices(FOUND["devices"]).message


def test_the_shipped_model_loads():
    found = doctor.inspect_model("emoji")
    assert set(found["parts"]) == {"text", "sampler", "codec", "scorer"}
    assert all(part["bytes"] == 4 * part["num_params"] > 0 for part in found["parts"].values())
    assert found["process_bytes"] > 10**7


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ({"returncode": -9}, "not enough memory"),
        ({"returncode": 1, "stderr": "Traceback\nthe driver is too old\n"}, "the driver is too old"),
        ({"returncode": 1}, "exit status 1"),
    ],
)
def test_a_process_that_ends_badly_is_explained(monkeypatch: pytest.MonkeyPatch, outcome: dict[str, Any], words: str):
    done = subprocess.CompletedProcess(**{"args": [], "stdout": "", "stderr": ""} | outcome)
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: done)
    with pytest.raises(DalleServeError, match=words):
        doctor.inspect_model("emoji")


def test_a_driver_that_hangs_is_explained(monkeypatch: pytest.MonkeyPatch):
    def hang(command: list[str], timeout: float, **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    (finding,) = doctor.check_model("emoji")
    assert finding.status == "bad" and "driver" in finding.message


def test_the_command_prints_findings_and_fails_where_one_is_bad(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "inspect_model", lambda model, scorer: FOUND)
    monkeypatch.setattr(doctor, "check_port", lambda host, port: doctor.Finding("port", "good", f"{port} is free"))
    monkeypatch.setattr(doctor, "free_memory", lambda: 100 * GIB)
    result = CliRunner().invoke(cli.app, ["doctor", "--json", "--port", "8123"])
    assert result.exit_code == 0, result.output
    findings = {finding["subject"]: finding for finding in json.loads(result.stdout)}
    assert findings["port"]["message"] == "8123 is free"
    assert {"python", "packages", "model", "devices", "memory"} <= set(findings)

    monkeypatch.setattr(doctor, "free_memory", lambda: GIB)
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert result.exit_code == 1
    assert "Use a smaller model" in result.stdout
