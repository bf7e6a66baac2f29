"""Models that share stages, with stages that compute nothing: who is loaded, and that each call reaches its own."""

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.config import ClipScorerConfig, ImageDecoderConfig, TextEncoderConfig, TokenSamplerConfig
from deployments.errors import InvalidSettings
from deployments.flow import waking as waking_module
from deployments.flow.calls import OfModel
from deployments.flow.pipeline import StagePipeline
from deployments.offline.in_process import Handle
from deployments.stages.on_demand import OnDemandStage
from model_core import inspection
from model_core.errors import NotFinite
from model_core.inspection import stage_bytes
from tests.unit.deployments.fakes import GRID, decoded, drawn, encoded, scored
from tests.unit.deployments.flow.test_pipeline import draw_with

FIXTURES = Path(__file__).parents[3] / "parity" / "fixtures"
CONFIGS = {
    "text_encoder": TextEncoderConfig(),
    "token_sampler": TokenSamplerConfig(),
    "image_decoder": ImageDecoderConfig(),
    "clip_scorer": ClipScorerConfig(),
}


@dataclass
class Stage:
    """All four stages in one; of the second model pictures are 100 brighter."""

    model: str
    config: Any
    ended: list[str]

    async def encode(self, prompt: str, negative: str | None) -> Any:
        return encoded(prompt, negative)

    async def sample(self, conditions: Any, seeds: Any, sampling: Any, **_: Any) -> AsyncGenerator[Any, None]:
        for place, codes in enumerate(drawn(conditions, seeds, sampling)):
            yield [(place, codes)]

    async def decode(self, codes: np.ndarray) -> np.ndarray:
        return decoded(codes) + np.uint8(100 * self.model.endswith("two"))

    async def score(self, prompt: str, images: np.ndarray) -> list[float]:
        return scored(prompt, images)

    async def tell(self, image: np.ndarray) -> str:
        return self.model

    def check_health(self) -> None:
        raise NotFinite("NaN")

    def __del__(self) -> None:
        self.ended.append(self.model)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two models of one size."""
    folder = tmp_path_factory.mktemp("models") / "one"
    for part, fixture in (("dalle_bart", "dalle-tiny"), ("vqgan", "vqgan-tiny"), ("clip", "clip-tiny")):
        shutil.copytree(FIXTURES / fixture, folder / part, ignore=shutil.ignore_patterns("goldens*"))
    sampling = {"guidance_scale": 3.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    card = {"id": "x", "licence": "x", "size": 32, "sampling": sampling, "description": "x"}
    (folder / "model.json").write_text(json.dumps(card))
    shutil.copytree(folder, folder.with_name("two"))
    return {"one": str(folder), "two": str(folder.with_name("two"))}


def shared(name: str, folders: dict[str, str], max_bytes: int, ended: list[str]) -> OnDemandStage:
    def stage(model: str, config: Any) -> Stage:
        return Stage(model, config, ended)

    models = {model: (folder, CONFIGS[name]) for model, folder in folders.items()}
    return OnDemandStage(stage, name, models, max_bytes)  # type: ignore[arg-type]  called as a class


def test_each_model_draws_its_own_and_goes_when_another_needs_its_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inspection, "stage_bytes", lambda *_, **__: 4)
    monkeypatch.setattr(waking_module, "LOADING_AFTER_S", 60.0)  # on a busy machine even this takes a while
    folders, ended = {"one": "folder/one", "two": "folder/two"}, dict[str, list[str]]()

    async def check() -> None:
        stages = {}
        for name in CONFIGS:
            room = 7 if name == "token_sampler" else 8
            stages[name] = shared(name, folders, room, ended.setdefault(name, []))
        for model, brightness in (("one", 7), ("two", 107), ("one", 7)):
            handles = {name: OfModel(Handle(stage), model) for name, stage in stages.items()}
            pipeline = StagePipeline(handles, GRID, 8, sleepy=list(handles))
            assert [away async for away in pipeline.waking.waiting_for(60)] == []
            (image,) = await draw_with(pipeline, seed=7)
            assert (image.image == brightness).all() and image.score == brightness
            assert await pipeline.tell(image.image, timeout_s=60) == f"folder/{model}"
            assert set(stages["token_sampler"]._residents.things) == {model}
            assert model in stages["clip_scorer"]._residents.things
        assert list(dict.fromkeys(ended["token_sampler"])) == ["folder/one", "folder/two"]
        assert ended["clip_scorer"] == []
        with pytest.raises(NotFinite):
            stages["token_sampler"].check_health()

    asyncio.run(check())


def test_a_model_that_could_never_be_loaded_is_refused(folders: dict[str, str]):
    with pytest.raises(InvalidSettings, match=r"on_demand\.image_decoder\.max_memory_bytes: one takes"):
        shared("image_decoder", folders, 1000, [])


def test_slots_and_dtypes_are_among_what_a_stage_takes(folders: dict[str, str]):
    one, two = (stage_bytes("token_sampler", folders["one"], slots=slots) for slots in (1, 2))
    assert 0 < two - one < one
    half = stage_bytes("token_sampler", folders["one"], slots=2, dtype="bfloat16")
    assert two / 2 <= half < 0.7 * two
