"""Examines an installation: is everything there that the service needs, and what to do where it is not?

Each check gives findings; none changes anything. JAX and the model's files are tried in a process of their own, which
may hang or die without taking this one along.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from packaging.requirements import Requirement

from deployments.config import TokenSamplerConfig
from deployments.host import bind_problem, free_port, http_client, url_of
from deployments.local import set_environment
from deployments.needs import cache_problem, ray_folder, session_problem, shared_memory_problem, token_problem
from model_core import bundles
from model_core.errors import DalleServeError

PACKAGE = "dalle-serve"
INSPECTION_TIMEOUT_S = 300.0
RAY_BYTES = 1.5e9  # Ray's own processes, Serve's controller and proxy, and the gateway: measured on an idle service
DISK_BYTES = 2e9
SLOTS: int = TokenSamplerConfig.model_fields["slots"].default
GIB = 2**30

Status = Literal["good", "doubtful", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: `advice` says what to do where `status` is not good."""

    subject: str
    status: Status
    message: str
    advice: str = ""


def examine(model: str, host: str, port: int, scorer: str | None = None) -> Iterator[Finding]:
    """Makes all checks, the quick ones first."""
    set_environment()
    yield from check_versions()
    yield check_port(host, port)
    yield from check_folders()
    yield check_disk()
    yield check_load()
    yield from check_model(model, scorer)


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
    """Can the service listen there, and if not, is it because it does already?"""
    problem = bind_problem(host, port)
    if not problem:
        return Finding("port", "good", f"{port} on {host} is free")
    import httpx

    try:
        with http_client(url_of(host, port), timeout=5) as client:
            state = client.get("/ready").json()
        return Finding("port", "good", f"{port} on {host}: the service runs there, ready: {state['ready']}")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        advice = f"A port that is free just now: dalle-serve serve --port {free_port()}" if "taken" in problem else ""
        return Finding("port", "bad", problem, advice)


def check_folders() -> Iterator[Finding]:
    """Can be written what the service writes: Ray's token and sessions, caches, shared memory?"""
    problems: list[tuple[str, Status, str]] = [
        ("token", "doubtful", token_problem()),
        ("sessions", "bad", session_problem()),
        ("cache", "doubtful", cache_problem()),
        ("shared memory", "doubtful", shared_memory_problem()),
    ]
    for subject, status, problem in problems:
        yield Finding(subject, status, problem) if problem else Finding(subject, "good", "can be written")


def check_disk() -> Finding:
    """Ray writes its logs into the folder for temporary files, and stops working where the disk is full."""
    folder = ray_folder().parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding("disk", "bad", f"{folder}: {error.strerror}", "Name another folder: RAY_TMPDIR")
    words = f"{_gib(free)} free in {folder}"
    if free >= DISK_BYTES:
        return Finding("disk", "good", words)
    return Finding("disk", "doubtful", words, "Make room, or choose another folder: RAY_TMPDIR")


def check_load() -> Finding:
    """Is there time left for the service? Ray gives up where its processes do not come up within its limits."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    words = f"{load:.1f} programs for {cores} cores"
    if load <= 1.5 * cores:
        return Finding("load", "good", words)
    return Finding("load", "doubtful", words, "Start the service when less else runs.")


def check_model(model: str, scorer: str | None = None) -> Iterator[Finding]:
    """The model's files, by loading them where there is room; the devices; and the memory of all stages together."""
    try:
        bundle, found = bundles.resolve(model, scorer=scorer), inspect_model(model, scorer)
    except DalleServeError as error:
        yield Finding("model", "bad", str(error))
        return
    parts = found["parts"]
    sizes = ", ".join(f"{role} {part['num_params'] / 1e6:.1f} M parameters" for role, part in parts.items())
    if unread := [role for role, part in parts.items() if part["seconds"] is None]:
        words = f"{bundle.id} has the files that it needs: {sizes}; {', '.join(unread)} not loaded, for want of memory"
    else:
        words = f"{bundle.id} loads: {sizes}"
    yield Finding("model", "good", words)
    yield check_devices(found["devices"])
    yield check_memory(found)
    yield from check_device_memory(found)


def inspect_model(model: str, scorer: str | None = None) -> dict[str, Any]:
    """Gives what `model_core.inspection` prints.

    Raises:
      DalleServeError: it says why the model or JAX cannot be used.
    """
    command = [sys.executable, "-m", "model_core.inspection", model, "--room", str(free_memory())]
    command += ["--scorer", scorer] if scorer else []
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
    """Compares what one replica of each stage needs, in float32, with what is free, within a container's limit."""
    stages, slots = _stages_bytes(found, 4), _slots_bytes(found, 4)
    needed = RAY_BYTES + sum(stages.values()) + len(stages) * found["process_bytes"] + SLOTS * slots
    free = free_memory()
    words = f"{_gib(free)} free; one replica of each stage takes about {_gib(needed)} ({_said(found, 4, SLOTS)})"
    if free >= needed:
        more = int((free - needed) // slots) if slots else 0
        return Finding("memory", "good", f"{words}; {SLOTS + more} slots would fit")
    advice = "Use a smaller model, dtype: bfloat16 for the stages, fewer slots, or a larger machine."
    return Finding("memory", "bad", words, advice)


def check_device_memory(found: dict[str, Any]) -> Iterator[Finding]:
    """What fits on one accelerator: all stages together, in either kind of numbers; nothing where there is none."""
    device = found["devices"][0]
    if not device["memory_bytes"]:
        return
    said, fits = [], False
    for dtype, itemsize in (("bfloat16", 2), ("float32", 4)):
        needed, slot = sum(_stages_bytes(found, itemsize).values()), _slots_bytes(found, itemsize)
        slots = int((0.9 * device["memory_bytes"] - needed) // slot) if slot else 0
        fits |= slots > 0
        room = f"{slots} slots fit beside them" if slots > 0 else "they do not fit"
        said.append(f"in {dtype} all weights take {_gib(needed)}, and a slot {_mib(slot)}: {room}")
    words = f"on one {device['kind']} with {_gib(device['memory_bytes'])}, {'; '.join(said)}"
    advice = "" if fits else "Use a smaller model, or cut it over several devices: num_devices."
    yield Finding("device memory", "good" if fits else "bad", words, advice)


def _stages_bytes(found: dict[str, Any], itemsize: int) -> dict[str, int]:
    """Of the weights of each stage, by role."""
    return {role: part["num_params"] * itemsize for role, part in found["parts"].items()}


def _slots_bytes(found: dict[str, Any], itemsize: int) -> int:
    """Of one image under guidance, and of its text, which the sampler keeps."""
    sampler = found["parts"]["sampler"]
    return (sampler["slot_bytes"] + sampler["text_bytes"]) * itemsize // 4  # they are told in float32


def _said(found: dict[str, Any], itemsize: int, slots: int) -> str:
    """The weights of each stage, and what the slots take."""
    weights = [f"{role} {_gib(size)}" for role, size in _stages_bytes(found, itemsize).items()]
    slot = _slots_bytes(found, itemsize)
    return f"weights: {', '.join(weights)}; {slots} slots of {_mib(slot)}: {_gib(slots * slot)}"


def free_memory() -> int:
    """Bytes that this process and those it starts may still take."""
    free = psutil.virtual_memory().available
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and (words := limit.read_text().strip()) != "max":
        free = min(free, int(words) - int(used.read_text()))
    return free


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def _mib(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"
