"""Draws with a small model on one device and on all, and prints how the two compare. Run by test_sharding.py."""

import json
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from model_core import stages
from model_core.families.conditions import FREE, Condition
from model_core.families.dalle_bart import family as dalle_bart
from model_core.sampler.engine import Engine
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import Sampling, Sequence
from model_core.weights import checkpoint, sharding

CONFIG = dalle_bart.DalleBartConfig(
    encoder_vocab_size=16,
    image_vocab_size=31,  # 32 logits: cut in eight
    image_length=9,
    max_text_length=4,
    d_model=32,
    encoder_layers=1,
    encoder_attention_heads=8,
    encoder_ffn_dim=12,  # does not divide by eight: stays whole
    decoder_layers=2,
    decoder_attention_heads=8,
    decoder_ffn_dim=24,
    decoder_start_token_id=31,
    eos_token_id=32,
)
STEPS = 4
FIXTURE = Path(__file__).parents[3] / "parity" / "fixtures" / "dalle-tiny"


def run(weights, states, mask, place=lambda state: state):
    """The logits of some steps, the state after them, and how many programs they took."""
    step = partial(jax.jit, static_argnums=(0, 5), donate_argnums=2)(dalle_bart.step)
    text = jax.jit(dalle_bart.read_text, static_argnums=0)(CONFIG, weights, states, mask)
    nothing = np.zeros((len(states), 0), np.int32)
    state = place(jax.jit(dalle_bart.prefill, static_argnums=0)(CONFIG, weights, text, nothing))
    seen, known = [], step._cache_size()
    for number in range(STEPS):
        position = jnp.full(len(states), number, jnp.int32)
        logits, state = step(CONFIG, weights, state, position[:, None], position, CONFIG.image_length)
        seen.append(np.asarray(logits))
    return np.stack(seen), state, step._cache_size() - known


def rows_of(weights, deterministic=False) -> Rows:
    """2 or 4 rows, that read as much as is needed; or 4 that read all, in one program."""
    return Rows(dalle_bart, CONFIG, weights, num_codes=30, max_rows=4, deterministic=deterministic)


def draw(rows: Rows, states, mask) -> np.ndarray:
    """Three images through an engine with room for two; one brings codes, one has no guidance."""
    engine, codes = Engine(rows, codes_per_advance=3), {}
    for seed, (scale, num_fixed) in enumerate([(3.0, 0), (1.0, 0), (2.0, 4)]):
        fixed = np.where(np.arange(CONFIG.image_length) < num_fixed, 5, FREE).astype(np.int32)
        prompt, nothing = (Condition(states[i], mask[i].astype(np.int32)) for i in range(2))
        sampling = Sampling(guidance_scale=scale)
        image = Sequence(condition=prompt, uncondition=nothing, seed=seed, sampling=sampling, fixed_codes=fixed)
        engine.submit(image, partial(codes.__setitem__, seed))
    while len(codes) < 3:
        engine._turn()
    assert engine.stats().near_ties == 0  # so that rounding decides nothing
    return np.stack([codes[seed] for seed in range(3)])


def devices_of_stages() -> list[int]:
    """How many devices the stages' weights lie on, when they are told two."""
    encoder, sampler = (stage(FIXTURE, num_devices=2) for stage in (stages.TextEncoder, stages.TokenSampler))
    return [len(jax.tree.leaves(tree)[0].devices()) for tree in (encoder._text._encode.args[1], sampler.rows._weights)]


def main(folder: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = dalle_bart.param_shapes(CONFIG)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) * 0.3, shapes)
    mesh = sharding.make_mesh()
    checkpoint.save_params(folder / "flax_model.msgpack", params)
    place = sharding.placer(mesh, dalle_bart.CUT_AXES)
    loaded = checkpoint.load_params(folder / "flax_model.msgpack", shapes, place=place)
    loaded_cut = checkpoint.load_params(folder / "flax_model.msgpack", shapes, place=dalle_bart.cutting(place))
    states = rng.normal(size=(2, CONFIG.max_text_length, CONFIG.d_model)).astype(np.float32)
    mask = np.ones((2, CONFIG.max_text_length), bool)
    whole = dalle_bart.step_weights(jax.tree.map(jnp.asarray, params))
    expected, _, _ = run(whole, states, mask)
    sharded_rows = rows_of(dalle_bart.step_weights(loaded_cut))
    sharded_rows.warm_up()
    kernel = dalle_bart.step_weights(loaded_cut).layers[0]["GLU_0"]["Dense_0"]["kernel"]
    tokens = np.ones((2, CONFIG.max_text_length), np.int32)
    encoded = [np.asarray(dalle_bart.encode(CONFIG, tree, tokens, mask)) for tree in (params, loaded)]
    got, state, programs = run(dalle_bart.step_weights(loaded), states, mask, partial(sharding.place_rows, mesh))
    cut = [leaf for leaf in jax.tree.leaves(loaded) if not leaf.sharding.is_fully_replicated]
    piece = state.cache[0][0].keys.addressable_shards[0].data
    print(
        json.dumps(
            {
                "devices": mesh.size,
                "largest_difference": float(abs(got - expected).max()),
                "largest_logit": float(abs(expected).max()),
                "share_of_cut_arrays": sum(leaf.addressable_shards[0].data.nbytes for leaf in cut)
                / sum(leaf.nbytes for leaf in cut),
                "share_of_cache": piece.nbytes / state.cache[0][0].keys.nbytes,
                "loaded_equals_saved": all(jax.tree.leaves(jax.tree.map(np.array_equal, loaded, params))),
                "programs": programs,
                "devices_of_stages": devices_of_stages(),
                "codes": draw(rows_of(whole, deterministic=True), states, mask).tolist(),
                "sharded_codes": draw(sharded_rows, states, mask).tolist(),
                "compiles_after_warm_up": sharded_rows.compiles.count,
                "share_of_a_layer": kernel.addressable_shards[0].data.nbytes / kernel.nbytes,
                "largest_difference_of_states": float(abs(encoded[0] - encoded[1]).max()),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
