"""Prompts → ids of one length, and what guidance leads away from."""

import json
from pathlib import Path

import numpy as np
import pytest

from model_core import families
from model_core.errors import CorruptCheckpoint, InvalidValue, ModelNotFound, UnsupportedConfig
from model_core.families.dalle_gpt.text import open_text
from model_core.sampler.generate import generate
from tests.unit.model_core.families.dalle_gpt.configs import DALLE_PYTORCH, RUDALLE, changed, random_model

FIXTURES = Path(__file__).parents[4] / "parity" / "fixtures"


@pytest.fixture(scope="module")
def rudalle():
    return open_text(FIXTURES / "rudalle")


def test_texts_are_padded_and_cut(rudalle):
    (short, uncondition), (long, _) = rudalle("кот"), rudalle("слон " * 50)
    assert uncondition is None
    assert short.values.dtype == short.mask.dtype == np.int32
    assert short.values.shape == long.values.shape == (28,)
    count = short.mask.sum()
    assert short.values[0] == 2 and short.values[count - 1] == 3 and not short.values[count:].any()
    assert long.mask.all() and long.values[-1] != 3  # the end is cut off


def test_russian_is_read_as_it_is(rudalle):
    (text,) = rudalle.encode([("  Красный ШАР, ёлка ", None)])
    assert text.words == "красный шар, ёлка"
    assert text.num_tokens == text.condition.mask.sum()


def test_without_a_text_that_says_nothing_there_is_no_guidance(rudalle):
    """Which is not the text stage's affair: it is warmed up with guidance, and reads several requests at once."""
    guided, plain = rudalle.encode([("кот", "пёс"), ("кот", None)])
    assert guided.uncondition is plain.uncondition is None
    assert guided.num_negative_tokens == 0
    config, params = random_model(RUDALLE)
    condition = type(guided.condition)(guided.condition.values[:4], guided.condition.mask[:4])
    family = families.of_folder(FIXTURES / "rudalle")
    with pytest.raises(InvalidValue, match="trained without one") as error:
        generate(family, config, params, [condition], None, guidance_scale=2.0)
    assert error.value.param == "guidance_scale"


def test_no_text_is_pads_alone_and_a_negative_prompt_takes_its_place():
    text = open_text(FIXTURES / "dp-taming")
    unguided, guided, negative = text.encode([("red", None), ("red", ""), ("red", "blue")])
    assert unguided.uncondition is None
    assert not guided.uncondition.values.any() and not guided.uncondition.mask.any()
    np.testing.assert_array_equal(negative.uncondition.values, text("blue")[0].values)
    assert (guided.num_negative_tokens, negative.num_negative_tokens) == (0, text("blue")[0].mask.sum())
    assert text("red", "blue")[1].key == negative.uncondition.key


@pytest.mark.parametrize("name", ["dp-rotary", "dp-plain-clip", "dp-taming", "rudalle", "mindalle"])
@pytest.mark.parametrize("prompt", ["\ud800", "\x00", "🙂" * 3000, "a" * 20_000, "\u2581", "<|endoftext|>"])
def test_no_prompt_breaks_it(name, prompt):
    condition, _ = open_text(FIXTURES / name)(prompt)
    config = families.read_config(FIXTURES / name)
    assert condition.values.shape == config.condition_shape
    assert condition.values.min() >= 0 and condition.values.max() < config.text_vocab


@pytest.mark.parametrize(
    ("raw", "kind", "message"),
    [
        (changed(RUDALLE, tokenizer="../bpe.model"), UnsupportedConfig, "must be a file beside it"),
        (changed(RUDALLE, tokenizer=None), UnsupportedConfig, "tokenizer in config.json names None"),
        (RUDALLE, CorruptCheckpoint, r"bpe\.model"),
        (changed(DALLE_PYTORCH, tokenizer="bpe.model"), UnsupportedConfig, "simple, hug or yttm"),
        (changed(DALLE_PYTORCH, tokenizer={"kind": "chinese"}), UnsupportedConfig, "'chinese'"),
        (changed(DALLE_PYTORCH, tokenizer={"kind": "simple", "file": "other.txt"}), CorruptCheckpoint, r"other\.txt"),
        (
            changed(DALLE_PYTORCH, tokenizer={"kind": "yttm", "file": "large.model"}),
            CorruptCheckpoint,
            "different models",
        ),
    ],
)
def test_other_folders_are_refused(tmp_path, raw, kind, message):
    (tmp_path / "config.json").write_text(json.dumps(raw))
    (tmp_path / "large.model").write_bytes((FIXTURES / "rudalle" / "bpe.model").read_bytes())
    with pytest.raises(kind, match=message):
        open_text(tmp_path)
    with pytest.raises(ModelNotFound):
        open_text(tmp_path / "nothing")
