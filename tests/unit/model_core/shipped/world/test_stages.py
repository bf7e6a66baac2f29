"""What stages need and leave; `tests/train_smoke/test_world.py` trains."""

from pathlib import Path

import pytest

from model_core import bundles
from model_core.errors import InvalidValue
from model_core.shipped.world import stages
from model_core.shipped.world.description import held_out_kinds
from model_core.shipped.world.scenes import World
from model_core.training.codecs.recipes import VQGANRecipe
from model_core.training.start import start_from
from tests.unit.model_core.shipped.world.things_made_here import sprites

UNSEEN = World(sprites=sprites(), held_out=True)


def test_a_run_without_a_start_is_refused(tmp_path: Path):
    with pytest.raises(InvalidValue, match="train start emoji"):
        stages.train_vqgan(tmp_path, UNSEEN, VQGANRecipe())


def test_the_models_card_says_how_to_draw_and_gives_prompts_never_trained(tmp_path: Path):
    start_from("emoji", tmp_path / "run")
    bundle = bundles.resolve(stages.export(tmp_path / "run", UNSEEN))
    assert (bundle.id, bundle.size, bundle.sampling) == ("world", 128, stages.SAMPLING)
    assert bundle.licence == bundles.resolve("emoji").licence
    assert len(bundle.example_prompts) == 24
    assert all(held_out_kinds(UNSEEN.describe(index)) for index in range(24))
