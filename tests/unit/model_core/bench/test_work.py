"""The counted least work agrees with what XLA counts in our own program, and with the weights as they are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core.bench.models import MINI
from model_core.bench.work import Work, image_work, num_weight_bytes, program_flops, step_work
from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_bart.config import DalleBartConfig
from model_core.families.dalle_bart.step import step_weights

WIDE = DalleBartConfig(  # wide enough for norms and softmax to count little beside products
    encoder_vocab_size=16,
    image_vocab_size=2047,
    image_length=64,
    max_text_length=32,
    d_model=512,
    encoder_layers=1,
    encoder_attention_heads=8,
    encoder_ffn_dim=512,
    decoder_layers=2,
    decoder_attention_heads=8,
    decoder_ffn_dim=1024,
    decoder_start_token_id=2047,
    eos_token_id=2048,
)
NUMBERS = dalle_bart.step_numbers(WIDE)


@pytest.mark.parametrize("rows", [2, 8])
def test_the_arithmetic_of_a_step_is_what_xla_counts_at_the_last_position(rows, unchecked):
    """Unchecked: shapes stand for arrays."""
    shapes = dalle_bart.param_shapes(WIDE)
    weights = jax.eval_shape(partial(step_weights, is_turned=True), shapes)
    state = jax.eval_shape(lambda weights: dalle_bart.empty(WIDE, weights, rows), weights)
    codes, position = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((rows, 1), (rows,)))
    step = jax.jit(partial(dalle_bart.step, WIDE), static_argnums=4)
    counted = program_flops(step, weights, state, codes, position, WIDE.image_length)
    expected = step_work(dalle_bart.step_numbers(WIDE), 4, rows, WIDE.image_length - 1).num_flops
    assert expected <= counted <= 1.05 * expected


def test_the_weights_of_a_step_are_every_kernel_but_those_kept_of_the_text():
    shapes = dalle_bart.param_shapes(MINI)
    decoder = shapes["model"]["decoder"]["layers"]["FlaxBartDecoderLayers"]
    kernels = [leaf for path, leaf in jax.tree.leaves_with_path(decoder) if path[-1].key == "kernel"]
    of_the_text = [decoder["FlaxBartAttention_1"][name]["kernel"] for name in ("k_proj", "v_proj")]
    all_bytes = sum(4 * leaf.size for leaf in [*kernels, shapes["lm_head"]["kernel"]])
    assert step_work(dalle_bart.step_numbers(MINI), 4, rows=0, position=0).num_bytes == all_bytes - sum(
        4 * leaf.size for leaf in of_the_text
    )


def test_an_image_costs_the_sum_of_its_steps():
    steps = [step_work(NUMBERS, 2, 4, position) for position in (3, 4)]
    assert image_work(NUMBERS, 2, 4, np.arange(3, 5)) == Work(
        sum(step.num_bytes for step in steps), sum(step.num_flops for step in steps)
    )


def test_weight_bytes_are_counted_leaf_by_leaf():
    assert num_weight_bytes({"a": jnp.zeros((2, 3)), "b": [jnp.zeros(4, jnp.bfloat16)]}) == 6 * 4 + 4 * 2
