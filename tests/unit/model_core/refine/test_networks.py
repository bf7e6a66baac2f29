"""What codecs and scorers offer for refining."""

from importlib import import_module
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from model_core import codecs
from model_core.codecs import VectorCodec
from model_core.errors import UnsupportedConfig
from model_core.scorers import clip, dalle_pytorch_clip


def test_codecs_of_vectors_are_known_by_their_names_and_others_refused(tmp_path: Path):
    for name in set(codecs.CODECS.values()):
        module = import_module(f"model_core.codecs.{name}")
        assert isinstance(module, VectorCodec) == (name in codecs.OF_VECTORS)
    (tmp_path / "config.json").write_text('{"model_type": "openai_dvae"}')
    with pytest.raises(UnsupportedConfig, match="codec openai_dvae cannot be refined"):
        codecs.require_vectors(tmp_path)


@pytest.mark.parametrize(
    ("scorer", "folder"), [(dalle_pytorch_clip, "dp-plain-clip/clip"), (clip, "clip-tiny")], ids=["own", "clip"]
)
def test_a_scorer_normalises_pixels_as_it_preprocesses_pictures(fixtures: Path, scorer: Any, folder: str):
    config = scorer.read_config(fixtures / folder)
    image = np.random.default_rng(0).integers(0, 256, (*config.size, 3), np.uint8)
    whole = scorer.preprocess(config, [image])
    np.testing.assert_allclose(scorer.normalize(config, image[None].astype(np.float32) / 255), whole, atol=1e-5)


def test_vectors_paint_what_their_codes_do(fixtures: Path):
    """With what is computed twice for a gradient, and without."""
    codec, config, params = codecs.load(fixtures / "vqgan-tiny")
    assert isinstance(codec, VectorCodec)
    codes = np.random.default_rng(0).integers(config.grid.codebook, size=(1, config.grid.num_codes))
    vectors = np.asarray(codec.codebook(config, params))[codes].reshape(1, *config.grid[:2], -1)
    pixels = codec.decode(config, params, codes)
    np.testing.assert_allclose(codec.decode_vectors(config, params, jnp.asarray(vectors)), pixels, atol=2e-5)
