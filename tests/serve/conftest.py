"""One Ray cluster for all tests here, with the service on it and the tiny models of `tests/parity/fixtures` in it."""

import gc
import json
import os
import shutil
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import PydanticDeprecatedSince20

from deployments.local import set_environment
from tests.serve.processes import alive, descendants

FIXTURES = Path(__file__).parents[1] / "parity" / "fixtures"
PARTS = {"dalle_bart": "dalle-tiny", "vqgan": "vqgan-tiny", "clip": "clip-tiny"}
SAMPLING = {"guidance_scale": 10.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.serve)
            item.add_marker(pytest.mark.timeout(600))  # the first one waits for the cluster
            # Ray's threads leave sockets and files to be closed at exit, and warn at whatever test runs by then.
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder with random weights: pictures of 32×32, of 64 codes each."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    for part, fixture in PARTS.items():
        shutil.copytree(FIXTURES / fixture, folder / part, ignore=shutil.ignore_patterns("goldens*"))
    card = {"id": "tiny", "licence": "Apache-2.0", "size": 32, "sampling": SAMPLING, "description": "random weights"}
    (folder / "model.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="session")
def service(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The running service, as `dalle-serve serve` starts it."""
    home = tmp_path_factory.mktemp("home")
    before = dict(os.environ)
    # Ray's token and the compile cache are written here, not into the home of who runs the tests.
    os.environ |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    # As an operator asks for it: every request's trace, in files beside the logs.
    os.environ["RAY_SERVE_TRACING_SAMPLING_RATIO"] = "1"
    os.environ["RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH"] = "ray.serve._private.tracing_utils:default_tracing_exporter"
    # In throughput mode Serve keeps a thousand lines of its logs back, and they are read here.
    os.environ["RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE"] = "1"
    set_environment()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PydanticDeprecatedSince20)  # Ray's settings use what pydantic gave up
            warnings.simplefilter(
                "ignore", ResourceWarning
            )  # Ray leaves the pipes of its processes to be closed at exit
            from deployments.config import AppConfig, GatewayConfig, Limits, ModelConfig, RefinerConfig
            from deployments.host import free_port
            from deployments.local import LocalService

            config = AppConfig(
                models=[
                    ModelConfig(
                        id="tiny",
                        source=str(tiny_model),
                        refiner=RefinerConfig(min_replicas=0, upscale_delay_s=0),  # away until it is asked for
                    )
                ],
                # As much as one request may ask for: a second large one is too much.
                gateway=GatewayConfig(max_pending_images=64),
                limits=Limits(max_best_of=64),
            )
            local = LocalService(config, port=free_port(), json_logs=True)
            local.start()
        yield local
        started = descendants(os.getpid())
        assert any("raylet" in command for command in started.values())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # Ray does not wait for its processes, nor close its files
            local.stop()
            gc.collect()  # now, while that is known
        deadline = time.monotonic() + 60
        while left := alive(started):
            assert time.monotonic() < deadline, f"left behind: {[started[pid] for pid in left]}"
            time.sleep(0.1)
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def http(service: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


def kill(pid: int) -> None:
    """Ends a process as an out-of-memory killer does."""
    os.kill(pid, signal.SIGKILL)
