"""A service of tiny models for tests that do it harm, and a notebook for what they measure.

They share one service, one after another: it has to be whole again after each of them.
"""

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import PydanticDeprecatedSince20

from deployments.config import AppConfig
from deployments.host import free_port
from deployments.local import LocalService, set_environment
from tests.chaos.clients import Sketchbook
from tests.serve.conftest import tiny_model  # noqa: F401 - a fixture
from tests.serve.processes import alive, descendants

set_environment()  # what Ray reads when it is imported
del os.environ["JAX_COMPILATION_CACHE_DIR"]  # to be set again with a home of its own
if MODEL := os.environ.get("CHAOS_MODEL"):  # in place of the tiny one
    del os.environ["XLA_FLAGS"]  # with which tests compile fast and compute slowly

with warnings.catch_warnings():  # here once, so that the tests may import it with warnings as errors
    warnings.simplefilter("ignore", PydanticDeprecatedSince20)  # Ray's settings use a keyword that pydantic gave up
    import ray.serve  # noqa: F401 - for what its import does

RESULTS = Path("out/chaos.jsonl")
HEALTH = {"health_check_period_s": 1.0, "health_check_timeout_s": 30.0}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.chaos)
            item.add_marker(pytest.mark.timeout(1200))
            # Ray's threads leave sockets and files to be closed at exit, and warn at whatever test runs by then.
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.fixture(scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray's token and the compile cache are not written into the home of who runs the tests."""
    home = tmp_path_factory.mktemp("home")
    before = dict(os.environ)
    os.environ |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    set_environment()
    yield
    os.environ.clear()
    os.environ.update(before)


def tiny_config(model: str | Path, *, pending: int = 64, **stage: Any) -> AppConfig:
    """Settings of the service under test; `stage` goes to every stage."""
    stages: Any = {
        name: HEALTH | {"num_cpus": 0.1} | stage
        for name in ("text_encoder", "token_sampler", "image_decoder", "clip_scorer")
    }
    # Away until it is asked for, so that other tests have the machine for themselves.
    refiner = HEALTH | {"num_cpus": 0.1, "min_replicas": 0, "upscale_delay_s": 0} | stage
    stages["refiner"] = refiner | {"max_steps": 1000, "max_pending_steps": 4000}
    return AppConfig.model_validate(
        {
            "models": [{"id": "tiny", "source": str(model)} | stages],
            "gateway": HEALTH | {"max_pending_images": pending},
            "limits": {"max_best_of": min(pending, 64)},
        }
    )


@pytest.fixture(scope="session")
def config(tiny_model: Path) -> AppConfig:  # noqa: F811 - the fixture above
    return tiny_config(MODEL or tiny_model)


@pytest.fixture(scope="session")
def service(own_home: None, config: AppConfig) -> Iterator[LocalService]:
    """The running service, as `dalle-serve serve` starts it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PydanticDeprecatedSince20)  # Ray's settings use what pydantic gave up
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves pipes of its processes to be closed at exit
        local = LocalService(config, port=free_port())
        local.start()
        yield local
        started = descendants(os.getpid())
        local.stop()
    deadline = time.monotonic() + 60
    while left := alive(started):
        assert time.monotonic() < deadline, f"left behind: {[started[pid] for pid in left]}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def sketchbook(service: LocalService) -> Sketchbook:
    """What each seed's picture looks like where nothing is disturbed."""
    return Sketchbook.draw(service.url)


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Writes down what was measured, and prints it."""

    def note(**measured: Any) -> None:
        RESULTS.parent.mkdir(exist_ok=True)
        load = round(os.getloadavg()[0], 1)  # of the machine, other programs included
        line = json.dumps({"test": request.node.name, "date": str(date.today()), "machine_load": load} | measured)
        with RESULTS.open("a") as results:
            results.write(line + "\n")
        print(f"\nMEASURED {line}")

    return note
