"""Prompts of Janus: what a prompt spells stays text, the template stays whole, and no text is as long as the prompt."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.errors import CorruptCheckpoint, UnsupportedConfig
from model_core.families.llama.janus.text import BEGIN, BEGIN_OF_IMAGE, PAD, TEMPLATES, JanusText, open_text
from model_core.tokenizer import Pieces

JANUS = Path(__file__).parents[4] / "parity" / "fixtures" / "janus-tiny"
FIRST_ADDED = 420  # ids from here on are special pieces, or the template's own
ANY_TEXT = st.text(st.characters(codec=None), max_size=60) | st.sampled_from([BEGIN, PAD, BEGIN_OF_IMAGE, "<|User|>"])


@pytest.fixture(scope="module")
def text() -> JanusText:
    return open_text(JANUS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(JANUS, tmp_path / "janus", ignore=shutil.ignore_patterns("goldens*", "*.safetensors"))
    return tmp_path / "janus"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(words=st.lists(ANY_TEXT, max_size=4))
def test_a_prompt_adds_no_special_id(text, words):
    added = [id for id in text.ids("".join(words)) if id >= FIRST_ADDED]
    assert added == [id for id in text.ids("a fox") if id >= FIRST_ADDED]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(prompt=ANY_TEXT, negative=ANY_TEXT | st.none())
def test_conditions_have_one_shape_and_end_with_the_image(text, prompt, negative):
    (encoded,) = text.encode([(prompt, negative)])
    sides = [encoded.condition] if negative is None else [encoded.condition, encoded.uncondition]
    for side in sides:
        assert side.values.shape == side.mask.shape == (128,)
        assert side.values.dtype == side.mask.dtype == np.int32
        assert side.values[-1] == 428
        assert (np.diff(side.mask) >= 0).all()  # padding in front
    assert encoded.num_tokens == encoded.condition.mask.sum()


def test_no_text_is_padding_that_is_looked_at(text):
    condition, nothing = text("a red apple")
    np.testing.assert_array_equal(nothing.mask, condition.mask)
    ids = nothing.values[nothing.mask > 0]
    assert (ids[0], ids[-1], set(ids[1:-1].tolist())) == (420, 428, {422})


def test_a_negative_prompt_is_read_like_a_prompt(text):
    _, negative = text("a red apple", "a green one")
    np.testing.assert_array_equal(negative.values, text("a green one")[0].values)
    (encoded,) = text.encode([("a red apple", "a green one")])
    assert encoded.num_negative_tokens == negative.mask.sum()
    (encoded,) = text.encode([("a red apple", None)])
    assert encoded.uncondition is None


def test_a_prompt_too_long_loses_its_end_and_keeps_its_template(text):
    short, long = text.ids("x"), text.ids("an apple and " * 100)
    assert len(long) == 128
    assert long[:3] == short[:3]
    assert long[-5:] == short[-5:]
    assert long[:100] == text.ids("an apple and " * 90)[:100]


def test_a_prompt_is_stripped_and_may_be_empty(text):
    assert text.ids("  fox\n") == text.ids("fox")
    assert len(text.ids("")) < len(text.ids("fox"))
    assert text.encode([(" fox ", None)])[0].words == "fox"


def test_janus_1_3b_has_a_form_of_its_own(folder):
    (folder / "processor_config.json").write_text('{"sft_format": "deepseek_old"}')
    pieces = Pieces(folder, 448)
    expected = [420, *pieces.encode("User: a fox\n\nAssistant:"), 428]
    assert open_text(folder).ids("a fox") == expected


def test_a_form_that_nobody_knows_is_refused(folder):
    (folder / "processor_config.json").write_text('{"sft_format": "alpaca"}')
    with pytest.raises(UnsupportedConfig, match="sft_format is 'alpaca'; implemented are deepseek, deepseek_old"):
        open_text(folder)


def test_without_a_form_it_is_that_of_janus_pro(folder, text):
    (folder / "processor_config.json").unlink()
    assert open_text(folder).ids("a fox") == text.ids("a fox")


def test_pieces_of_the_template_need_not_be_in_the_vocabulary(folder):
    """Then they are read as text, together with the prompt."""
    content = json.loads((folder / "tokenizer.json").read_text())
    kept = [token for token in content["added_tokens"] if not token["content"].startswith("<|")]
    (folder / "tokenizer.json").write_text(json.dumps(content | {"added_tokens": kept}))
    before, behind = TEMPLATES["deepseek"]
    assert open_text(folder).ids("a fox") == [420, *Pieces(folder, 448).encode(f"{before}a fox{behind}"), 428]


@pytest.mark.parametrize("piece", [BEGIN, BEGIN_OF_IMAGE, PAD])
def test_a_piece_that_is_missing_is_named(folder, piece):
    content = json.loads((folder / "tokenizer.json").read_text())
    kept = [token for token in content["added_tokens"] if token["content"] != piece]
    (folder / "tokenizer.json").write_text(json.dumps(content | {"added_tokens": kept, "post_processor": None}))
    with pytest.raises(CorruptCheckpoint, match="has no token "):
        open_text(folder)


@pytest.mark.parametrize("content", ["{}", "[]", '{"added_tokens": 3}', "x"])
def test_a_tokenizer_that_is_none_is_refused(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(CorruptCheckpoint, match=r"tokenizer\.json"):
        open_text(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
    content = json.loads((folder / "config.json").read_text())
    content["text_config"]["vocab_size"] = 430
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(CorruptCheckpoint, match=r"ids up to 432, config\.json says 430 tokens"):
        open_text(folder)


def test_no_room_for_a_prompt_is_refused():
    with pytest.raises(UnsupportedConfig, match="max_text_length is 7, which leaves no room"):
        JanusText(Pieces(JANUS, 448), 7, *TEMPLATES["deepseek"])
