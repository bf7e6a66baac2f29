"""LlamaGen's captions and configuration, and the whole way from a prompt to its codes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core import families
from model_core.errors import CheckpointMismatch, UnsupportedConfig
from model_core.families.llama.llamagen.config import read_config
from model_core.families.llama.t5 import config as t5_config
from model_core.families.llama.t5 import family as t5
from model_core.families.llama.t5.captions import cleaned
from model_core.families.llama.t5.text import CaptionText, open_text
from model_core.families.protocol import Config, Family, Reader
from model_core.pipeline import Pipeline

FIXTURES = Path(__file__).parents[4] / "parity" / "fixtures"
LLAMAGEN, JANUS = FIXTURES / "llamagen-tiny", FIXTURES / "janus-tiny"
CAPTIONS = LLAMAGEN / "t5-ckpt" / "flan-t5-xl"
ANY_TEXT = st.text(st.characters(codec=None), max_size=80) | st.text("<>!&;[]/-_ab1.@#'\"", max_size=30)


@pytest.fixture(scope="module")
def text() -> CaptionText:
    return open_text(CAPTIONS)


@pytest.mark.parametrize("folder", [JANUS, LLAMAGEN / "gpt"])
def test_a_sampler_offers_all_that_a_family_does(folder):
    assert isinstance(families.of_folder(folder), Family)
    assert isinstance(families.read_config(folder), Config)


def test_what_only_reads_texts_offers_no_more():
    assert isinstance(families.of_folder(CAPTIONS), Reader)
    assert not isinstance(families.of_folder(CAPTIONS), Family)


@pytest.mark.parametrize(
    ("prompt", "caption"),
    [
        ("A%20Fox+in the Snow", "a fox in the snow"),
        ("see https://x.com/a or cats.com/b now", "see or now"),
        ("<b>bold</b> &amp; <!-- note -->plain<script>x</script>", "bold plain"),
        ("by @someone, 漢字 – “quoted” 192.168.0.1", 'by , - "quoted"'),
        ("#12 #12345 photo1.png jc6640vc free shipping 1920x1080", ""),
        ("fish &chips; &nbsp tea", "fish chips tea"),
        ("<![CDATA[kept]]> text", "kept text"),
        ("a_b-c_d-e", "a b c d e"),
        ("a-b", "a-b"),
        ("'whole'", "whole"),
        ("&amp;amp; twice", "twice"),
        ("<![if x[ a", "<! if x a"),
        ("", ""),
    ],
)
def test_captions_are_cleaned(prompt, caption):
    assert cleaned(prompt) == caption


@settings(max_examples=200, deadline=None, derandomize=True)
@given(prompt=ANY_TEXT)
def test_any_prompt_becomes_a_caption(prompt):
    assert cleaned(prompt).strip() == cleaned(prompt)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(prompt=ANY_TEXT | st.sampled_from(["<extra_id_0>", "&lt;pad&gt;", "&amp;lt;/s&amp;gt;"]))
def test_a_prompt_adds_no_special_id(text, prompt):
    tokens, mask = text.tokenizer([prompt])
    ids = tokens[0, : mask.sum()].tolist()
    assert ids[-1] == 1
    assert not {0, 1} & set(ids[:-1])
    assert all(id < 142 for id in ids)  # from there on are the extra ones


def test_a_condition_stands_on_the_right_and_no_caption_is_zeros(text):
    condition, nothing = text("a fox")
    count = condition.mask.sum()
    assert condition.values.shape == (120, 32)
    assert condition.mask[-count:].all()
    assert not condition.values[:-count].any()
    assert condition.values[-count:].any(1).all()
    assert not nothing.values.any()
    np.testing.assert_array_equal(nothing.mask, condition.mask)


def test_a_negative_prompt_is_read_like_a_prompt(text):
    (encoded,) = text.encode([("a fox", "a dog and a cat")])
    np.testing.assert_array_equal(encoded.uncondition.values, text("a dog and a cat")[0].values)
    assert encoded.num_negative_tokens == encoded.uncondition.mask.sum() > encoded.num_tokens
    assert text.encode([("a fox", None)])[0].uncondition is None
    assert text.encode([]) == []


def test_what_comes_out_for_a_caption_depends_on_no_other(text):
    (alone,) = text.encode([("a fox", "")])
    _, among = text.encode([("another one", "fog"), ("a fox", "")])
    np.testing.assert_array_equal(alone.condition.values, among.condition.values)


def test_a_caption_too_long_is_cut(text):
    (encoded,) = text.encode([("fox " * 200, "")])
    assert encoded.num_tokens == 120


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cls_token_num": 1}, "cls_token_num is 1; only 120"),
        ({"block_size": 200}, "block_size is 200; it must be the square"),
        ({"n_head": 5}, "n_head is 5; dim, 48"),
        ({"dim": 0}, "dim is 0; it must be an integer from 1"),
        ({"norm_eps": "x"}, "norm_eps is 'x'; it must be a number"),
        ({"n_kv_head": 3}, "4 heads and 3 of keys and values"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(tmp_path, changes, message):
    raw = json.loads((LLAMAGEN / "gpt" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | changes))
    with pytest.raises(UnsupportedConfig, match=message):
        read_config(tmp_path)


def test_the_feed_forward_is_as_wide_as_the_reference_makes_it(tmp_path):
    (tmp_path / "config.json").write_text('{"dim": 1280, "n_head": 20, "multiple_of": 256, "block_size": 1024}')
    config = read_config(tmp_path)
    assert (config.blocks.hidden, config.side) == (3584, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feed_forward_proj": "relu"}, "feed_forward_proj is 'relu'; only 'gated-gelu'"),
        ({"relative_attention_num_buckets": 30}, "the first must divide by 4"),
        ({"d_kv": None}, "d_kv is None; it must be an integer"),
    ],
)
def test_another_t5_is_refused_by_name(tmp_path, changes, message):
    raw = json.loads((CAPTIONS / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | changes))
    with pytest.raises(UnsupportedConfig, match=message):
        t5_config.read_config(tmp_path)


def test_distances_share_buckets_as_the_paper_has_it():
    config = families.read_config(CAPTIONS)
    buckets = t5.buckets(config, 200)
    assert buckets.diagonal().max() == 0
    assert buckets[0, :12].tolist() == [0, 17, 18, 19, 20, 21, 22, 23, 24, 24, 24, 24]  # what is looked at lies behind
    assert buckets[:12, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8]
    assert buckets[0, [16, 32, 64, 128, 199]].tolist() == [26, 28, 30, 31, 31]


def test_a_sampler_that_reads_no_text_says_what_does():
    with pytest.raises(UnsupportedConfig, match='as "text" in the parts of model'):
        families.of_folder(LLAMAGEN / "gpt").open_text(LLAMAGEN / "gpt")


def test_a_file_of_another_size_is_refused_by_name(tmp_path):
    shutil.copytree(LLAMAGEN / "gpt", tmp_path, dirs_exist_ok=True)
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {"n_layer": 2}))
    with pytest.raises(CheckpointMismatch, match=r"unexpected layers\.2\.attention\.wo\.weight"):
        families.load(tmp_path)


def test_llamagen_draws_the_recorded_codes_of_prompts_with_its_t5_apart(tmp_path):
    """From a folder whose model.json names three parts, one of them below another folder."""
    shutil.copytree(LLAMAGEN, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("goldens*"))
    codec = json.loads((tmp_path / "vq/config.json").read_text()) | {"model_type": "llamagen_vq", "resolution": 12}
    (tmp_path / "vq/config.json").write_text(json.dumps(codec))
    sampling = dict(families.read_config(tmp_path / "gpt").default_sampling)
    card = {"id": "llamagen", "licence": "MIT", "size": 12, "sampling": sampling, "description": "random"}
    parts = {"sampler": "gpt", "codec": "vq", "text": "t5-ckpt/flan-t5-xl"}
    (tmp_path / "model.json").write_text(json.dumps(card | {"parts": parts}))
    pipeline = Pipeline.from_model(tmp_path)
    assert pipeline.bundle.text == tmp_path / "t5-ckpt" / "flan-t5-xl"
    with np.load(LLAMAGEN / "goldens.npz") as goldens:
        for prompt, codes in list(zip(goldens["prompts"].tolist(), goldens["greedy_cfg7_5"], strict=True))[:2]:
            (drawn,) = pipeline.generate(prompt, seed=0, temperature=1e-6)
            np.testing.assert_array_equal(drawn.codes, codes)


def test_janus_draws_the_recorded_pictures_of_prompts_from_one_folder():
    pipeline = Pipeline.from_model(JANUS)
    assert pipeline.bundle.sampling == {"guidance_scale": 5.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    with np.load(JANUS / "goldens.npz") as goldens:
        for row, prompt in enumerate(goldens["prompts"].tolist()[:2]):
            (drawn,) = pipeline.generate(prompt, seed=0, temperature=1e-6)
            np.testing.assert_array_equal(drawn.codes, goldens["greedy_default"][row])
            np.testing.assert_allclose(drawn.image.astype(int), goldens["greedy_default_images"][row], atol=1)
