"""DALLE-pytorch's CLIP: its doors. tests/parity compares its scores with the reference."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core import scorers
from model_core.errors import CorruptCheckpoint, InvalidValue, UnsupportedConfig
from model_core.scorers import dalle_pytorch_clip as clip
from model_core.scorers.dalle_pytorch_clip_config import DallePytorchCLIPConfig
from model_core.weights.weight_files import index_safetensors

FIXTURE = Path(__file__).parents[3] / "parity" / "fixtures" / "dp-plain-clip"
RAW = {
    "model_type": "dalle_pytorch_clip",
    "hparams": json.loads((FIXTURE / "clip/config.json").read_text())["hparams"],
    "tokenizer": {"kind": "hug", "file": "bpe.json"},
}
CONFIG = DallePytorchCLIPConfig.from_dict(RAW)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(RAW))
    for path in (FIXTURE / "clip/model.safetensors", FIXTURE / "bpe.json"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_a_folder_is_loaded_and_scores(folder):
    scorer, config, params = scorers.load(folder)
    assert scorer is clip
    assert config.size == (32, 32)
    text = scorer.embed_text(config, params, *scorer.open_text(folder)(["a red hat", ""]))
    images = [np.zeros((50, 40, 3), np.uint8), np.full((32, 32, 3), 200, np.uint8), np.zeros((8, 8, 3), np.uint8)]
    preprocessed = scorer.preprocess(config, images)
    assert (preprocessed.shape, preprocessed.dtype) == ((3, 32, 32, 3), np.float32)
    np.testing.assert_allclose(preprocessed[1], 200 / 255, rtol=1e-6)
    vectors = scorer.embed_pixels(config, params, preprocessed)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)
    scores = np.asarray(scorer.logits_per_image(config, params, vectors, text))
    assert scores.shape == (3, 2)
    np.testing.assert_allclose(scores[0], scores[2], atol=1e-5)  # black, whatever the size


def test_older_versions_that_wrap_a_layer_less_are_read(folder):
    """Up to 1.2.1 the attention's names have one `fn.` less."""
    path = folder / "model.safetensors"
    index = {name.replace(".fn.fn.fn.", ".fn.fn."): array for name, array in index_safetensors(path).items()}
    expected = {name: leaf.shape for name, leaf in flat(clip.param_shapes(CONFIG)).items()}
    assert {name: array.final_shape for name, array in clip.layout(path, index, {}).items()} == expected


def flat(tree: dict, prefix: str = "") -> dict:
    parts = (
        flat(value, f"{prefix}{key}/") if isinstance(value, dict) else {prefix + key: value}
        for key, value in tree.items()
    )
    return {name: leaf for part in parts for name, leaf in part.items()}


def test_masked_tokens_do_not_count():
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), clip.param_shapes(CONFIG))
    tokens = rng.integers(1, 340, (1, 26)).astype(np.int32)
    mask = (np.arange(26) < 9).astype(np.int32)[None]
    others = np.where(mask == 1, tokens, 7)
    first, second = (np.asarray(clip.embed_text(CONFIG, params, each, mask)) for each in (tokens, others))
    np.testing.assert_allclose(first, second, atol=1e-5)
    everything = np.asarray(clip.embed_text(CONFIG, params, tokens, np.ones_like(mask)))
    assert np.abs(everything - first).max() > 1e-3
    with pytest.raises(InvalidValue, match="reads 26 text tokens; got 3"):
        clip.embed_text(CONFIG, params, tokens[:, :3], mask[:, :3])
    with pytest.raises(InvalidValue, match=r"looks at \[B, 32, 32, 3\]"):
        clip.embed_pixels(CONFIG, params, np.zeros((1, 16, 16, 3), np.float32))


def test_texts_of_any_length_and_kind_are_read(folder):
    tokens, mask = clip.open_text(folder)(["", "a " * 500, "\ud800"])
    assert tokens.shape == mask.shape == (3, 26)
    assert (tokens[0] == 0).all()
    assert (tokens[1] != 0).all()
    assert (mask == 1).all()


def test_pictures_of_other_kinds_are_refused():
    for images in ([], [np.zeros((4, 4), np.uint8)], [np.zeros((4, 4, 3), np.float32)]):
        with pytest.raises(InvalidValue, match="image"):
            clip.preprocess(CONFIG, images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hparams": None}, "hparams is None; it must be an object"),
        ({"hparams": {"dim_text": 0}}, "dim_text is 0; it must be an integer"),
        ({"hparams": {"visual_patch_size": 30}}, "visual_patch_size is 30; it must be a divisor of 256"),
        ({"tokenizer": "bpe.json"}, "tokenizer is 'bpe.json'; it must be an object"),
        (
            {"tokenizer": {"kind": "chinese", "file": "a"}},
            "tokenizer.kind is 'chinese'; it must be one of simple, hug, yttm",
        ),
        ({"tokenizer": {"kind": "hug", "file": "../a"}}, "tokenizer.file is '../a'; it must be the name of a file"),
        ({"tokenizer": {"kind": "hug"}}, "tokenizer.file is None; it must be the name of a file"),
    ],
)
def test_configurations_that_make_no_sense_are_refused_by_name(changes, message):
    with pytest.raises(UnsupportedConfig, match=message):
        DallePytorchCLIPConfig.from_dict(RAW | changes)


def test_a_tokenizer_of_another_model_is_refused(folder):
    raw = RAW | {"hparams": RAW["hparams"] | {"num_text_tokens": 100}}
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CorruptCheckpoint, match=r"config\.json says 100 tokens"):
        clip.open_text(folder)
