"""From scenes to a model that composes: every stage of the recipe, a few steps each, stopped and resumed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from model_core import bundles, codecs
from model_core.shipped.world import codes
from model_core.shipped.world.recipe import CPU, Recipe, run_chunk
from tests.unit.model_core.shipped.world.things_made_here import sprites

pytestmark = pytest.mark.timeout(2400)

FEW = Recipe(
    vqgan=replace(CPU.vqgan, steps=4, batch_size=4, warm_up_steps=1, decoder_steps=3, decoder_batch_size=2),
    dalle_bart=replace(CPU.dalle_bart, steps=4, batch_size=2, warm_up_steps=1),
    clip=replace(CPU.clip, steps=3, batch_size=8, warm_up_steps=1),
    num_shards=2,
)
PARTS = {"vqgan": "vqgan", "vqgan_decoder": "vqgan", "dalle_bart": "dalle_bart", "clip": "clip"}


def steps_of(part: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (part / "metrics.jsonl").read_text().splitlines()]


def test_the_recipe_is_stopped_by_the_clock_and_goes_on_to_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(codes, "SHARD", 4)
    run = tmp_path / "run"
    assert not run_chunk(run, sprites(), FEW, minutes=1e-4)
    assert run_chunk(run, sprites(), FEW, minutes=0)
    assert {part: steps_of(run / part)[-1] for part in PARTS} == {
        "vqgan": 4,
        "vqgan_decoder": 3,
        "dalle_bart": 4,
        "clip": 3,
    }
    for part in PARTS:
        assert steps_of(run / part) == list(range(1, len(steps_of(run / part)) + 1))  # nothing twice
    bundle = bundles.resolve(run / "model")
    assert bundle.id == "world"
    codecs.load(bundle.codec)
    before = (bundle.codec / "flax_model.msgpack").read_bytes()
    assert run_chunk(run, sprites(), FEW, minutes=0)
    assert (bundle.codec / "flax_model.msgpack").read_bytes() == before
