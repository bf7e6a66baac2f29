import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from deployments.batches.lines import EDITS, GENERATIONS
from deployments.config import AppConfig, ImageDecoderConfig, ModelConfig, TokenSamplerConfig
from deployments.errors import StageFailed
from deployments.gateway.gateway import Gateway
from deployments.offline import drawing
from deployments.offline.drawing import Drawer, draw_lines, needs_of, without_limits
from deployments.offline.results import Results
from model_core.errors import EngineFailed
from model_core.pictures.images import read_image
from tests.unit.deployments.fakes import fake_stages


@pytest.fixture
def drawer(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drawer:
    """A worker with stages whose results can be computed by hand."""

    class Fake:
        health: Exception | None = None

        def __init__(self, config: AppConfig):
            self.stages = fake_stages()
            self.gateway = Gateway(config, {"fake": self.stages}, build_api=lambda _: None)

        def check_health(self) -> None:
            if self.health:
                raise self.health

    monkeypatch.setattr(drawing, "InProcess", Fake)
    config = AppConfig(models=[ModelConfig(id="fake", source=str(model_folder))])
    return Drawer(config, tmp_path / "out")


def draw(drawer: Drawer, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [
        {"line": number, "custom_id": "a", "endpoint": EDITS if "images" in body else GENERATIONS}
        | {"body": json.dumps(body)}
        for number, body in enumerate(bodies, 1)
    ]

    async def all_rows() -> list[dict[str, Any]]:
        return await asyncio.gather(*(drawer(row) for row in rows))

    with Results(drawer._results.folder).claimed({}):
        return asyncio.run(all_rows())


def test_rows_become_files(drawer: Drawer, tmp_path: Path):
    rows = draw(drawer, {"prompt": "a cat", "seed": 9}, {"prompt": "a dog", "n": 99})
    assert rows == [{"line": 1, "drawn": True}, {"line": 2, "drawn": False}]
    assert (read_image(tmp_path / "out/images/00000001-1.png") == 9).all()
    assert Results(tmp_path / "out").finish() == (1, 1)
    assert "n must be" in (tmp_path / "out/errors.jsonl").read_text()


def test_more_than_a_service_would_let_wait_is_drawn(drawer: Drawer):
    rows = draw(drawer, *[{"prompt": "a cat", "best_of": 100}] * 4)
    assert all(row["drawn"] for row in rows)


def test_a_failure_is_kept_to_be_tried_again_but_a_sick_worker_ends_the_run(drawer: Drawer, tmp_path: Path):
    here: Any = drawer._here
    here.stages["text_encoder"].errors = [StageFailed("no")]
    assert draw(drawer, {"prompt": "a cat"}) == [{"line": 1, "drawn": False}]
    assert Results(tmp_path / "out").done() == set()
    here.stages["text_encoder"].errors = [StageFailed("no")]
    here.health = EngineFailed("it is broken")
    with pytest.raises(EngineFailed):
        draw(drawer, {"prompt": "a cat"})


def test_a_worker_needs_what_its_stages_need_together():
    (model,) = AppConfig().models
    assert needs_of(model.stages.values()) == {"num_cpus": 1.4, "num_gpus": 0}
    shared = ModelConfig(
        token_sampler=TokenSamplerConfig(num_gpus=0.6, accelerator_type="A100", env_vars={"A": "1"}),
        image_decoder=ImageDecoderConfig(num_gpus=0.4, resources={"TPU": 1}),
    )
    needs = needs_of(shared.stages.values())
    assert (needs["num_gpus"], needs["accelerator_type"], needs["resources"]) == (1, "A100", {"TPU": 1})
    assert needs["runtime_env"] == {"env_vars": {"A": "1"}}
    apart = ModelConfig(token_sampler=TokenSamplerConfig(num_gpus=2), image_decoder=ImageDecoderConfig(num_gpus=1))
    assert needs_of(apart.stages.values())["num_gpus"] == 2


def test_nobody_waits_so_nothing_is_refused_for_it():
    gateway = without_limits(AppConfig()).gateway
    assert gateway.max_pending_images > 10**6 and gateway.request_timeout_s > 3600


def test_without_lines_nothing_is_started(tmp_path: Path):
    draw_lines([], AppConfig(), tmp_path, workers=1, on_progress=lambda count: None)
