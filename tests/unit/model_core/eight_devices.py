"""Draws with a small model on one device and on all, and prints how the two compare. Run by test_sharding.py."""

import json
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from model_core import checkpoint, dalle_bart, decoding, sharding

CONFIG = dalle_bart.DalleBartConfig(
    encoder_vocab_size=16,
    image_vocab_size=31,  # 32 logits: cut in eight
    image_length=8,
    max_text_length=4,
    d_model=32,
    encoder_layers=1,
    encoder_attention_heads=8,
    encoder_ffn_dim=16,
    decoder_layers=2,
    decoder_attention_heads=8,
    decoder_ffn_dim=28,  # does not divide by eight: stays whole
    decoder_start_token_id=31,
    eos_token_id=32,
)
STEPS = 4


def run(weights, states, mask, place=lambda state: state):
    """The logits of some steps, the state after them, and how many programs they took."""
    step = partial(jax.jit, static_argnums=0, donate_argnums=2)(decoding.decode_step)
    state = place(jax.jit(decoding.prefill, static_argnums=0)(CONFIG, weights, states, mask))
    seen, known = [], step._cache_size()
    for position in range(STEPS):
        logits, state = step(CONFIG, weights, state, jnp.full(len(states), position, jnp.int32))
        seen.append(np.asarray(logits))
    return np.stack(seen), state, step._cache_size() - known


def same(a, b) -> bool:
    return a.sharding == b.sharding and bool((np.asarray(a) == np.asarray(b)).all())


def main(folder: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = dalle_bart.param_shapes(CONFIG)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) * 0.3, shapes)
    mesh = sharding.make_mesh()
    placed = sharding.place_params(mesh, params)
    checkpoint.save_params(folder / "flax_model.msgpack", params)
    loaded = checkpoint.load_params(folder / "flax_model.msgpack", shapes, place=sharding.placer(mesh))
    states = rng.normal(size=(2, CONFIG.max_text_length, CONFIG.d_model)).astype(np.float32)
    mask = np.ones((2, CONFIG.max_text_length), bool)
    expected, _, _ = run(decoding.decoder_weights(jax.tree.map(jnp.asarray, params)), states, mask)
    got, state, programs = run(decoding.decoder_weights(loaded), states, mask, partial(sharding.place_state, mesh))
    cut = [leaf for leaf in jax.tree.leaves(placed) if not leaf.sharding.is_fully_replicated]
    piece = state.cache[0].keys.addressable_shards[0].data
    print(
        json.dumps(
            {
                "devices": mesh.size,
                "largest_difference": float(abs(got - expected).max()),
                "largest_logit": float(abs(expected).max()),
                "share_of_cut_arrays": sum(leaf.addressable_shards[0].data.nbytes for leaf in cut)
                / sum(leaf.nbytes for leaf in cut),
                "share_of_cache": piece.nbytes / state.cache[0].keys.nbytes,
                "loaded_equals_placed": all(jax.tree.leaves(jax.tree.map(same, loaded, placed))),
                "programs": programs,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
