"""Where the recorded models are, and a tiny DalleBart whose every parameter is random."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.families.conditions import Condition
from model_core.families.dalle_bart import family as dalle_bart


class TinyDalleBart(NamedTuple):
    config: dalle_bart.DalleBartConfig
    params: dalle_bart.Params


class TinyText(NamedTuple):
    """Three texts of different length with as many unconditional ones."""

    tokens: np.ndarray
    mask: np.ndarray
    tokens_uncond: np.ndarray
    mask_uncond: np.ndarray

    def rows(self, *which: int) -> "TinyText":
        return TinyText(*(part[list(which)] for part in self))


class TinyConditions(NamedTuple):
    """Those of `TinyText`, in the same order."""

    prompts: list[Condition]
    unconditional: list[Condition]


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of the tiny models and their goldens."""
    return Path(__file__).parents[2] / "parity" / "fixtures"


@pytest.fixture(scope="session")
def tiny_dalle_bart() -> TinyDalleBart:
    config = dalle_bart.DalleBartConfig(
        encoder_vocab_size=40,
        image_vocab_size=21,  # the last id is padding: the codebook that tests think of has 20
        image_length=9,
        max_text_length=6,
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=20,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=28,
        decoder_start_token_id=21,
        eos_token_id=19,
    )
    leaves, tree = jax.tree.flatten(dalle_bart.param_shapes(config))
    rng = np.random.default_rng(0)
    random = [jnp.asarray(rng.normal(size=leaf.shape) * 0.4 + (leaf.ndim < 3), leaf.dtype) for leaf in leaves]
    return TinyDalleBart(config, jax.tree.unflatten(tree, random))


@pytest.fixture(scope="session")
def tiny_text() -> TinyText:
    tokens = np.array([[1, 5, 9, 11, 30, 2], [1, 7, 2, 3, 3, 3], [1, 39, 12, 2, 3, 3]], np.int32)
    mask = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]], np.int32)
    empty, empty_mask = np.array([[1, 2, 3, 3, 3, 3]] * 3, np.int32), np.array([[1, 1, 0, 0, 0, 0]] * 3, np.int32)
    return TinyText(tokens, mask, empty, empty_mask)


@pytest.fixture(scope="session")
def tiny_conditions(tiny_dalle_bart: TinyDalleBart, tiny_text: TinyText) -> TinyConditions:
    def encode(tokens: np.ndarray, mask: np.ndarray) -> list[Condition]:
        states = np.asarray(dalle_bart.encode(*tiny_dalle_bart, tokens, mask))
        return [Condition(*of_text) for of_text in zip(states, mask, strict=True)]

    return TinyConditions(
        encode(tiny_text.tokens, tiny_text.mask), encode(tiny_text.tokens_uncond, tiny_text.mask_uncond)
    )
