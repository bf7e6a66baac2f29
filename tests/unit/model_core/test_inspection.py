"""What is told by shapes alone is what the stages then hold, for every family."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from model_core import families, inspection
from model_core.errors import CorruptCheckpoint
from model_core.families.conditions import Condition
from model_core.sampler.rows import Rows

FIXTURES = Path(__file__).parents[2] / "parity" / "fixtures"
SAMPLERS = ("dalle-tiny", "dp-rotary", "janus-tiny", "llamagen-tiny/gpt")  # one of each family


def num_bytes(tree: object) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_holds_what_its_shapes_tell(name: str):
    folder = FIXTURES / name
    told = inspection.describe_part("sampler", folder, room=0)
    family, config, params = families.load(folder, role="sampler", place=None)
    assert told["num_params"] == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert told["bytes"] == num_bytes(params) and told["seconds"] is None
    rows = Rows(family, config, family.step_weights(params), max_rows=6, deterministic=False)
    of_rows = num_bytes(rows._blank(6).state)
    assert told["slot_bytes"] == of_rows / 3  # six rows are three images under guidance
    shape = config.condition_shape
    values = np.zeros(shape, np.float32 if len(shape) > 1 else np.int32)
    text = rows._read_text(Condition(values, np.ones(shape[:1], np.int32)))
    assert told["text_bytes"] == num_bytes(text)
    half = inspection.memory_of(family, config, "sampler", "bfloat16")
    assert half["bytes"] == told["bytes"] / 2 and half["slot_bytes"] < 0.7 * told["slot_bytes"]


@pytest.mark.parametrize(
    ("role", "name", "has_weights"),
    [
        ("text", "dalle-tiny", True),
        ("text", "llamagen-tiny/t5-ckpt/flan-t5-xl", True),
        ("text", "janus-tiny", False),  # the sampler reads the text itself
        ("codec", "janus-tiny", True),
        ("scorer", "clip-tiny", True),
    ],
)
def test_the_other_stages_hold_what_their_shapes_tell(role: str, name: str, has_weights: bool):
    told = inspection.describe_part(role, FIXTURES / name, room=0)
    *_, params = inspection.LOAD[role](FIXTURES / name, "float32")
    assert told["bytes"] == num_bytes(params)
    assert (told["num_params"] > 0) is has_weights
    assert "slot_bytes" not in told


def test_what_does_not_fit_is_not_loaded_but_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(inspection.LOAD, "scorer", lambda *args: pytest.fail("loaded"))
    told = inspection.describe_part("scorer", FIXTURES / "clip-tiny", room=1000)
    assert told["seconds"] is None and told["bytes"] > 1000
    folder = tmp_path / "cut"
    shutil.copytree(FIXTURES / "janus-tiny", folder, ignore=shutil.ignore_patterns("goldens*"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CorruptCheckpoint):
        inspection.describe_part("sampler", folder, room=0)
