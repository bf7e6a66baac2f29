"""Trains a VQGAN on pictures.

Reconstruction without an adversary: absolute and squared error, plus the error of picture edges at three scales.
The codebook follows the encoder by exponential moving averages and unused vectors are restarted from the batch (van den
Oord et al., arXiv:1711.00937, appendix A; Łańcucki et al., arXiv:2005.08520). It starts by k-means on features that the
network has already learned without quantising. Most steps see random crops (the network is convolutional), the last
ones whole pictures.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt8

from model_core.codecs.vqgan import VQGAN, Params, VQGANConfig
from model_core.pictures.images import to_pixels
from model_core.training.loop import LoopConfig, Metrics, State, batch_rng, train
from model_core.training.schedules import check_warm_up

DECODER_PARTS = ("decoder", "post_quant_conv")
ENCODED_SHARE = 0.25  # of what the decoder learns comes as the encoder spells it, as uploaded pictures do


@dataclass(frozen=True, slots=True, kw_only=True)
class VQGANRecipe:
    """Everything that decides how the VQGAN is trained."""

    steps: int = 4000
    batch_size: int = 16
    crop: int = 64  # pixels a side
    whole_fraction: float = 0.25  # of the steps, at the end, on whole pictures (a quarter of the batch each)
    continuous_fraction: float = 0.1  # of the steps, at the start, without quantising
    learning_rate: float = 2e-3
    warm_up_steps: int = 100
    commitment: float = 0.25
    edges: float = 0.5
    codebook_decay: float = 0.99
    restart_below: float = 0.03  # expected uses of a code in a batch
    decoder_steps: int = 1500  # afterwards, with the codes fixed
    decoder_batch_size: int = 4
    decoder_learning_rate: float = 1e-3
    seed: int = 0


def optimizer(recipe: VQGANRecipe) -> optax.GradientTransformation:
    """Adam with clipped gradients, linear warm-up and cosine decay."""
    check_warm_up(recipe)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, recipe.learning_rate, recipe.warm_up_steps, recipe.steps, end_value=recipe.learning_rate * 0.02
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b1=0.9, b2=0.99))


def initial_state(config: VQGANConfig, recipe: VQGANRecipe, params: Params | None = None) -> State:
    """The parameters given, or random ones, and a codebook that nothing has used yet."""
    pixels, key = jnp.zeros((1, *config.size, 3)), jax.random.key(recipe.seed)
    random = jax.jit(VQGAN(config).init)  # one program, not hundreds
    start: Params = random(key, pixels)["params"] if params is None else params
    return {
        "step": jnp.int32(0),
        "params": start,
        "optimizer": optimizer(recipe).init(start),
        "uses": jnp.ones(config.n_embed),  # [C] moving average of each code's uses in a batch
        "sums": jnp.array(start["quantize"]["embedding"]["embedding"]),  # [C, E] of the features that chose it
    }


def edge_loss(got: Float[Array, "B h w 3"], want: Float[Array, "B h w 3"]) -> Float[Array, ""]:
    """Mean absolute difference of horizontal and vertical steps, at full, half and quarter size."""
    total = jnp.zeros(())
    difference = got - want
    for _ in range(3):
        total += jnp.abs(jnp.diff(difference, axis=1)).mean() + jnp.abs(jnp.diff(difference, axis=2)).mean()
        batch, height, width, channels = difference.shape
        difference = difference.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
    return total


def reconstruction_loss(
    got: Float[Array, "B h w 3"], want: Float[Array, "B h w 3"], recipe: VQGANRecipe
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """What both training phases minimise, and the mean squared error that is reported."""
    squared = jnp.mean((got - want) ** 2)
    return jnp.abs(got - want).mean() + 2 * squared + recipe.edges * edge_loss(got, want), squared


@partial(jax.jit, static_argnames=("config", "recipe", "quantise"), donate_argnames="state")
def train_step(
    state: State,
    pixels: Float[Array, "B h w 3"],
    key: Array,
    *,
    config: VQGANConfig,
    recipe: VQGANRecipe,
    quantise: bool,
) -> tuple[State, Metrics]:
    """One gradient step for the networks and one moving-average step for the codebook."""
    model = VQGAN(config)
    codebook = state["params"]["quantize"]["embedding"]["embedding"]

    def loss_fn(params: Params) -> tuple[Array, tuple[Array, Array, Array]]:
        z = jnp.asarray(model.apply({"params": params}, pixels, method=VQGAN.features))
        codes = jnp.asarray(
            model.apply({"params": params}, jax.lax.stop_gradient(z), method=lambda m, z: m.quantize(z))
        )
        commitment = jnp.zeros(())
        chosen = z
        if quantise:
            nearest = codebook[codes]
            commitment = jnp.mean((z - nearest) ** 2)
            chosen = z + jax.lax.stop_gradient(nearest - z)  # straight-through
        got = jnp.asarray(model.apply({"params": params}, chosen, method=VQGAN.pixels))
        loss, squared = reconstruction_loss(got, pixels, recipe)
        return loss + recipe.commitment * commitment, (squared, z, codes)

    (loss, (squared, z, codes)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state["params"])
    updates, optimizer_state = optimizer(recipe).update(grads, state["optimizer"], state["params"])
    state = {**state, "params": optax.apply_updates(state["params"], updates), "optimizer": optimizer_state}
    metrics = {"loss": loss, "psnr": -10 * jnp.log10(squared)}
    if quantise:
        state = _move_codebook(state, recipe, z.reshape(-1, config.embed_dim), codes.reshape(-1), key)
        metrics["codes_used"] = jnp.mean(state["uses"] > recipe.restart_below)
    return state, metrics


def _move_codebook(
    state: State, recipe: VQGANRecipe, z: Float[Array, "N E"], codes: Int[Array, " N"], key: Array
) -> State:
    """Moves every code towards the features that chose it and restarts the unused ones at random features."""
    keep = recipe.codebook_decay
    size = state["uses"].shape[0]
    uses = keep * state["uses"] + (1 - keep) * jax.ops.segment_sum(jnp.ones(len(codes)), codes, size)
    sums = keep * state["sums"] + (1 - keep) * jax.ops.segment_sum(z, codes, size)
    fresh = z[jax.random.randint(key, (size,), 0, len(z))]
    dead = (uses < recipe.restart_below)[:, None]
    sums = jnp.where(dead, fresh, sums)
    uses = jnp.where(dead[:, 0], 1.0, uses)
    params = {**state["params"], "quantize": {"embedding": {"embedding": sums / uses[:, None]}}}
    return {**state, "params": params, "uses": uses, "sums": sums}


def start_codebook(state: State, features: Float[np.ndarray, "N E"], seed: int, rounds: int = 12) -> State:
    """The same state with the codebook at the k-means of `features`.

    The first centres are drawn far from each other (k-means++: Arthur & Vassilvitskii, 2007), since most features of a
    picture set may be its empty background.
    """
    size = len(state["uses"])
    if len(features) < size:
        raise ValueError(f"a codebook of {size} cannot start from {len(features)} features: encode more pictures.")
    centres = _far_apart(features, size, np.random.default_rng(seed))
    for _ in range(rounds):
        distances = (features**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * features @ centres.T
        codes, error = distances.argmin(1), distances.min(1)
        uses = np.bincount(codes, minlength=size)
        for axis in range(features.shape[1]):
            centres[:, axis] = np.bincount(codes, features[:, axis], size) / np.maximum(uses, 1)
        empty = np.flatnonzero(uses == 0)
        centres[empty] = features[np.argsort(error)[::-1][: len(empty)]]  # those served worst
    table = jnp.asarray(centres, jnp.float32)
    params = {**state["params"], "quantize": {"embedding": {"embedding": table}}}
    return {**state, "params": params, "uses": jnp.ones(size), "sums": jnp.array(table)}


def _far_apart(features: Float[np.ndarray, "N E"], size: int, rng: np.random.Generator) -> Float[np.ndarray, "C E"]:
    """Draws features one by one, each in proportion to its squared distance from those drawn before."""
    chosen = [int(rng.integers(len(features)))]
    error = np.full(len(features), np.inf)
    while len(chosen) < size:
        error = np.minimum(error, ((features - features[chosen[-1]]) ** 2).sum(1))
        total = error.sum(dtype=np.float64)
        chosen.append(int(rng.choice(len(features), p=error / total if total > 0 else None)))
    return features[chosen]


def train_vqgan(
    pixels: np.ndarray,
    folder: Path,
    config: VQGANConfig,
    recipe: VQGANRecipe,
    loop: LoopConfig | None = None,
    params: Params | None = None,
) -> Params:
    """Trains on `pixels` (uint8 [B, height, width, 3]) until `recipe.steps`; returns the parameters.

    `params` are trained further, with the codebook that they have; without them it starts with random ones.
    """
    loop = loop or LoopConfig(steps=recipe.steps, seed=recipe.seed)
    whole_from = round(recipe.steps * (1 - recipe.whole_fraction))
    quantise_from = round(recipe.steps * recipe.continuous_fraction) if params is None else 0

    def make_batch(rng: np.random.Generator, step: int) -> np.ndarray:
        if step >= whole_from:
            return to_pixels(pixels[rng.integers(len(pixels), size=max(recipe.batch_size // 4, 1))])
        return to_pixels(_crops(pixels, recipe, rng))

    def step(state: State, batch: np.ndarray, key: Array) -> tuple[State, Metrics]:
        number = int(state["step"])
        if params is None and number == quantise_from:
            state = start_codebook(state, _some_features(state["params"], pixels, config, recipe), recipe.seed)
        return train_step(state, batch, key, config=config, recipe=recipe, quantise=number >= quantise_from)

    return train(folder, loop, initial_state(config, recipe, params), make_batch, step, name="VQGAN")["params"]


def train_decoder(
    params: Params,
    codes: Int[np.ndarray, "M N"],
    canonical: Int[np.ndarray, "M N"],
    pixels: UInt8[np.ndarray, "M height width 3"],
    folder: Path,
    config: VQGANConfig,
    recipe: VQGANRecipe,
) -> Params:
    """Trains the decoder alone, for `recipe.decoder_steps`, to draw `pixels[i]` from `codes[i]` or `canonical[i]`.

    The codes, and with them everything that was trained on them, stay what they are.
    """
    fixed = {name: params[name] for name in params if name not in DECODER_PARTS}
    state = decoder_state(params, recipe)

    def make_batch(rng: np.random.Generator, _step: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = rng.integers(len(pixels), size=recipe.decoder_batch_size)
        either = rng.random((len(chosen), 1)) < ENCODED_SHARE
        grids = np.where(either, codes[chosen], canonical[chosen]).reshape(-1, config.grid.rows, config.grid.columns)
        return grids, to_pixels(pixels[chosen])

    step = partial(decoder_step, fixed=fixed, config=config, recipe=recipe)
    loop = LoopConfig(steps=recipe.decoder_steps, seed=recipe.seed)
    return fixed | train(folder, loop, state, make_batch, step, name="VQGAN decoder")["params"]


def decoder_state(params: Params, recipe: VQGANRecipe) -> State:
    """The decoder's share of the parameters, and a fresh optimizer for them."""
    decoder = {name: jax.tree.map(jnp.array, params[name]) for name in DECODER_PARTS}
    return {"step": jnp.int32(0), "params": decoder, "optimizer": _decoder_optimizer(recipe).init(decoder)}


def _decoder_optimizer(recipe: VQGANRecipe) -> optax.GradientTransformation:
    warm_up = min(20, recipe.decoder_steps // 2)
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.decoder_learning_rate, warm_up, recipe.decoder_steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b1=0.9, b2=0.99))


@partial(jax.jit, static_argnames=("config", "recipe"), donate_argnames="state")
def decoder_step(
    state: State,
    batch: tuple[Int[Array, "B h w"], Float[Array, "B height width 3"]],
    key: Array,
    *,
    fixed: Params,
    config: VQGANConfig,
    recipe: VQGANRecipe,
) -> tuple[State, Metrics]:
    """One gradient step for the decoder, with the codes given."""
    del key  # nothing is drawn
    codes, pixels = batch

    def loss_fn(decoder: Params) -> tuple[Array, Array]:
        got = jnp.asarray(VQGAN(config).apply({"params": fixed | decoder}, codes, method=VQGAN.decode))
        return reconstruction_loss(got, pixels, recipe)

    (loss, squared), grads = jax.value_and_grad(loss_fn, has_aux=True)(state["params"])
    updates, optimizer_state = _decoder_optimizer(recipe).update(grads, state["optimizer"], state["params"])
    state = {**state, "params": optax.apply_updates(state["params"], updates), "optimizer": optimizer_state}
    return state, {"loss": loss, "psnr": -10 * jnp.log10(squared)}


def _crops(pixels: np.ndarray, recipe: VQGANRecipe, rng: np.random.Generator) -> np.ndarray:
    """Random squares of random pictures."""
    count, height, width, _ = pixels.shape
    rows = rng.integers(height - recipe.crop + 1, size=recipe.batch_size)
    columns = rng.integers(width - recipe.crop + 1, size=recipe.batch_size)
    places = zip(rng.integers(count, size=recipe.batch_size), rows, columns, strict=True)
    return np.stack([pixels[i, row : row + recipe.crop, column : column + recipe.crop] for i, row, column in places])


def _some_features(
    params: Any, pixels: np.ndarray, config: VQGANConfig, recipe: VQGANRecipe, batches: int = 20
) -> np.ndarray:
    """Encoder features of a few thousand places, [N, E], for starting the codebook."""
    encode = jax.jit(lambda crops: VQGAN(config).apply({"params": params}, crops, method=VQGAN.features))
    rngs = (batch_rng(recipe.seed, recipe.steps + i) for i in range(batches))
    features = [np.asarray(encode(to_pixels(_crops(pixels, recipe, rng)))) for rng in rngs]
    return np.concatenate(features).reshape(-1, config.embed_dim)
