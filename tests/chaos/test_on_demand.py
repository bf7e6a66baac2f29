"""Two models where there is room for one: each is loaded when it is asked for, and none goes while it draws.

Has a service of its own, so it runs in a process of its own: `make chaos` sees to that.
"""

import base64
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.config import AppConfig
from deployments.host import free_port
from deployments.local import LocalService
from model_core.inspection import stage_bytes
from model_core.pictures.images import read_image
from tests.chaos.clients import GENERATIONS, NO_STORE, PATIENCE_S
from tests.chaos.conftest import HEALTH

STAGES = ("text_encoder", "token_sampler", "image_decoder", "clip_scorer")


@pytest.fixture(scope="module")
def url(own_home: None, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service of `one`, `two`, and `alone`, which is the same as `one` but has stages of its own."""
    other = tmp_path_factory.mktemp("other") / "two"
    shutil.copytree(tiny_model, other)
    card = json.loads((other / "model.json").read_text())
    card["sampling"]["temperature"] = 0.5  # so that its pictures are others
    (other / "model.json").write_text(json.dumps(card))
    slots = {"token_sampler": {"slots": 5}}
    rooms = {name: stage_bytes(name, str(tiny_model), **slots.get(name, {})) * 3 // 2 for name in STAGES}
    shared = {name: HEALTH | {"num_cpus": 0.1, "max_memory_bytes": room} for name, room in rooms.items()}
    alone: Any = {name: HEALTH | {"num_cpus": 0.1} for name in STAGES}
    config = AppConfig.model_validate(
        {
            "models": [
                {"id": "alone", "source": str(tiny_model)} | alone,
                {"id": "one", "source": str(tiny_model), "on_demand": True},
                {"id": "two", "source": str(other), "on_demand": True},
            ],
            "on_demand": shared,
        }
    )
    with LocalService(config, port=free_port()) as service:
        yield service.url


def draw(http: httpx.Client, model: str, seed: int = 3, n: int = 1) -> list[list[int]]:
    """The pixels, for the files name the model."""
    fields = {"prompt": "an avocado", "seed": seed, "n": n, "model": model, "response_format": "b64_json"}
    reply = http.post(GENERATIONS, json=fields).raise_for_status().json()
    return [read_image(base64.b64decode(image["b64_json"])).tolist() for image in reply["data"]]


def stream(http: httpx.Client, model: str) -> list[str]:
    """The events' types."""
    fields = {"prompt": "an avocado", "seed": 3, "model": model, "stream": True}
    with http.stream("POST", GENERATIONS, json=fields) as reply:
        return [line.removeprefix("event: ") for line in reply.iter_lines() if line.startswith("event: ")]


def test_models_take_turns_and_draw_what_they_draw_alone(url: str, note: Callable[..., None]):
    with httpx.Client(base_url=url, timeout=PATIENCE_S, headers=NO_STORE) as http:
        alone = draw(http, "alone")
        took = []
        for model in ("one", "two", "one", "two"):
            began = time.monotonic()
            events = stream(http, model)
            took.append(time.monotonic() - began)
            assert events[0] == "image_generation.loading" and events[-1] == "image_generation.completed", events
            assert "image_generation.loading" not in stream(http, model)[:1]  # it is there now
            assert (draw(http, model) == alone) == (model == "one")
    note(cold_s=[round(seconds, 1) for seconds in took])


def test_both_at_once_are_both_served_whole(url: str, note: Callable[..., None]):
    """Each needs the other's room all the time; no picture is broken off, and none waits for ever."""
    pictures: dict[str, list[list[list[int]]]] = {"one": [], "two": []}
    errors: list[BaseException] = []

    def ask(model: str) -> None:
        try:
            with httpx.Client(base_url=url, timeout=PATIENCE_S, headers=NO_STORE) as http:
                for _ in range(3):
                    pictures[model].append(draw(http, model, n=4))
        except BaseException as error:
            errors.append(error)

    began = time.monotonic()
    threads = [threading.Thread(target=ask, args=(model,)) for model in pictures for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * PATIENCE_S)
    assert not errors and not any(thread.is_alive() for thread in threads)
    for mine in pictures.values():
        assert len(mine) == 6 and all(drawn == mine[0] for drawn in mine)
    note(requests=12, seconds=round(time.monotonic() - began, 1))
