"""A codec's decoder trained alone: the codes, and with them everything that was trained on them, stay what they are."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt8

from model_core.codecs import CodecConfig
from model_core.pictures.images import to_pixels
from model_core.training.codecs import adversary
from model_core.training.codecs.kinds import kind_of
from model_core.training.codecs.perceptual import Perceptual
from model_core.training.codecs.recipes import CodecRecipe
from model_core.training.codecs.reconstruction import Reconstruction
from model_core.training.codecs.step import Params, descend
from model_core.training.loop import LoopConfig, Metrics, State, train

ENCODED_SHARE = 0.25  # of what the decoder learns comes as the encoder spells it, as uploaded pictures do


def split(config: CodecConfig, params: Params) -> tuple[Params, Params]:
    """The decoder's share of the parameters, and the others."""
    parts = kind_of(config).DECODER_PARTS
    return {name: params[name] for name in parts}, {name: params[name] for name in params if name not in parts}


def train_decoder(
    params: Params,
    codes: Int[np.ndarray, "M N"],
    canonical: Int[np.ndarray, "M N"],
    pixels: UInt8[np.ndarray, "M height width 3"],
    folder: Path,
    config: CodecConfig,
    recipe: CodecRecipe,
    perceptual: Perceptual | None = None,
) -> Params:
    """Trains the decoder, for `recipe.decoder_steps`, to draw `pixels[i]` from `codes[i]` or `canonical[i]`."""
    decoder, fixed = split(config, params)

    def make_batch(rng: np.random.Generator, _step: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = rng.integers(len(pixels), size=recipe.decoder_batch_size)
        either = rng.random((len(chosen), 1)) < ENCODED_SHARE
        grids = np.where(either, codes[chosen], canonical[chosen]).reshape(-1, config.grid.rows, config.grid.columns)
        return grids, to_pixels(pixels[chosen])

    step = partial(decoder_step, fixed=fixed, config=config, recipe=recipe, perceptual=perceptual)
    loop = LoopConfig(steps=recipe.decoder_steps, seed=recipe.seed)
    state = decoder_state(decoder, config, recipe)
    return fixed | train(folder, loop, state, make_batch, step, name="decoder")["params"]


def decoder_state(decoder: Params, config: CodecConfig, recipe: CodecRecipe) -> State:
    """The decoder's parameters with a fresh optimizer, and a fresh adversary where there is one."""
    params = jax.tree.map(jnp.array, decoder)
    state = {"step": jnp.int32(0), "params": params, "optimizer": _optimizer(recipe).init(params)}
    return state | adversary.begin(recipe, config.size[0])


@partial(jax.jit, static_argnames=("config", "recipe"), donate_argnames="state")
def decoder_step(
    state: State,
    batch: tuple[Int[Array, "B rows columns"], Float[Array, "B height width 3"]],
    key: Array,
    *,
    fixed: Params,
    config: CodecConfig,
    recipe: CodecRecipe,
    perceptual: Perceptual | None = None,
) -> tuple[State, Metrics]:
    """One gradient step for the decoder, with the codes given; the adversary is there from the start."""
    del key  # nothing is drawn
    codes, pixels = batch

    def reconstruct(decoder: Params) -> Reconstruction:
        return Reconstruction(kind_of(config).draw(config, fixed | decoder, codes), jnp.zeros(()), {})

    listens = bool(recipe.adversarial_weight)
    follow = _optimizer(recipe)
    state, metrics, _ = descend(state, reconstruct, pixels, follow, config, recipe, perceptual, listens=listens)
    return state, metrics


def _optimizer(recipe: CodecRecipe) -> optax.GradientTransformation:
    warm_up = min(20, recipe.decoder_steps // 2)
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.decoder_learning_rate, warm_up, recipe.decoder_steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b1=0.9, b2=0.99))
