"""Examines an installation: is everything there that the service needs, and what to do where it is not?

Each check gives findings; none changes anything. JAX and the model's files are tried in a process of their own, which
may hang or die without taking this one along. Knows nothing of how findings are printed.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from packaging.requirements import Requirement

from deployments.host import free_port, is_free
from deployments.local import set_environment
from model_core import bundles
from model_core.errors import DalleServeError

PACKAGE = "dalle-serve"
INSPECTION_TIMEOUT_S = 300.0
RAY_BYTES = 1.5e9  # Ray's own processes, Serve's controller and proxy, and the gateway: measured on an idle service
SHARED_MEMORY_BYTES = 0.2e9
DISK_BYTES = 2e9
GIB = 2**30

Status = Literal["good", "doubtful", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: `advice` says what to do where `status` is not good."""

    subject: str
    status: Status
    message: str
    advice: str = ""


def examine(model: str, host: str, port: int) -> Iterator[Finding]:
    """Makes all checks, the quick ones first."""
    set_environment()
    yield from check_versions()
    yield check_port(host, port)
    yield check_shared_memory()
    yield check_disk()
    yield from check_model(model)


def check_versions() -> Iterator[Finding]:
    """Python, and every package that this one requires."""
    yield Finding("python", "good", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    wrong = []
    for line in importlib.metadata.requires(PACKAGE) or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, needed is {requirement.specifier}")
    if wrong:
        yield Finding("packages", "bad", "; ".join(wrong), "Install what requirements.lock names: make setup")
    else:
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in (PACKAGE, "ray", "jax", "flax"))
        yield Finding("packages", "good", versions)


def check_port(host: str, port: int) -> Finding:
    """Is the port free, and if not, is it this service that has it?"""
    if is_free(host, port):
        return Finding("port", "good", f"{port} on {host} is free")
    import httpx

    try:
        state = httpx.get(f"http://{host}:{port}/ready", timeout=5, trust_env=False).json()
        return Finding("port", "good", f"{port} on {host}: the service runs there, ready: {state['ready']}")
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        advice = f"Stop what listens there, or serve elsewhere: dalle-serve serve --port {free_port()}"
        return Finding("port", "bad", f"{port} on {host} is taken by something else", advice)


def check_shared_memory(folder: Path = Path("/dev/shm")) -> Finding:
    """Ray moves arrays between processes there; containers get 64 MB where nobody asked for more."""
    if not folder.is_dir():
        return Finding("shared memory", "good", "not used on this system")
    free = shutil.disk_usage(folder).free
    status: Status = "good" if free >= SHARED_MEMORY_BYTES else "doubtful"
    advice = "" if status == "good" else "In a container: docker run --shm-size=1g"
    return Finding("shared memory", status, f"{_gib(free)} free in {folder}", advice)


def check_disk() -> Finding:
    """Ray writes its logs into the folder for temporary files, and stops working where the disk is full."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    status: Status = "good" if free >= DISK_BYTES else "doubtful"
    advice = "" if status == "good" else "Make room, or choose another folder: RAY_TMPDIR"
    return Finding("disk", status, f"{_gib(free)} free in {folder}", advice)


def check_model(model: str) -> Iterator[Finding]:
    """The model's files, by loading them; the devices; and the memory that all stages need together."""
    try:
        bundle = bundles.resolve(model)
    except DalleServeError as error:
        yield Finding("model", "bad", str(error))
        return
    try:
        found = inspect_model(model)
    except DalleServeError as error:
        yield Finding("model", "bad", str(error))
        return
    sizes = ", ".join(f"{role} {part['num_params'] / 1e6:.1f} M parameters" for role, part in found["parts"].items())
    yield Finding("model", "good", f"{bundle.id} loads: {sizes}")
    yield check_devices(found["devices"])
    yield check_memory(found)


def inspect_model(model: str) -> dict[str, Any]:
    """Gives what `model_core.inspection` prints.

    Raises:
      DalleServeError: it says why the model or JAX cannot be used.
    """
    command = [sys.executable, "-m", "model_core.inspection", model]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSPECTION_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise DalleServeError(
            f"JAX and the model were not there after {INSPECTION_TIMEOUT_S:g} s: a device's driver may hang. "
            "Try with JAX_PLATFORMS=cpu."
        ) from error
    if done.returncode == -signal.SIGKILL:
        raise DalleServeError("Loading the model was killed by the system: there is not enough memory.")
    if done.returncode != 0:
        raise DalleServeError((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
    return json.loads(done.stdout)


def check_devices(devices: list[dict[str, Any]]) -> Finding:
    """What JAX computes on; doubtful where a GPU is there and JAX does not see it."""
    kinds = [device["kind"] for device in devices]
    words = ", ".join(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))
    memory = sum(device["memory_bytes"] or 0 for device in devices)
    if memory:
        words += f" with {_gib(memory)}"
    if {device["platform"] for device in devices} == {"cpu"}:
        words = f"{os.cpu_count()} CPU cores"
        if Path("/proc/driver/nvidia").exists():
            advice = "Install JAX for it: the extra dalle-serve[gpu]"
            return Finding("devices", "doubtful", f"{words}; there is an NVIDIA GPU that JAX does not see", advice)
    return Finding("devices", "good", words)


def check_memory(found: dict[str, Any]) -> Finding:
    """Compares what one replica of each stage needs with what is free, within a container's limit."""
    needed = RAY_BYTES + sum(found["process_bytes"] + part["bytes"] for part in found["parts"].values())
    free = _free_memory()
    words = f"{_gib(free)} free; one replica of each stage takes about {_gib(needed)}"
    if free >= needed:
        return Finding("memory", "good", words)
    return Finding("memory", "bad", words, "Use a smaller model, dtype: bfloat16 for the stages, or a larger machine.")


def _free_memory() -> int:
    free = psutil.virtual_memory().available
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and (words := limit.read_text().strip()) != "max":
        free = min(free, int(words) - int(used.read_text()))
    return free


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
