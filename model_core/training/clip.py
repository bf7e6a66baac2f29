"""Trains a small CLIP on (prompt, picture) pairs: the judge that re-ranks drawn images.

Symmetric contrastive loss (Radford et al., arXiv:2103.00020). A batch holds every concept at most once, so that no two
of its pictures share a true prompt. Pictures are shifted and resized a little, and some are replaced by what the VQGAN
makes of their codes, since drawn images are what will be judged.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8
from PIL import Image

from model_core.families.dalle_bart.family import Params
from model_core.scorers import clip
from model_core.scorers.clip import CLIPConfig
from model_core.tokenizer import Tokenizer
from model_core.training.data import Item, draw_prompt
from model_core.training.loop import LoopConfig, Metrics, State, train
from model_core.training.schedules import check_warm_up

Batch = dict[str, Array | np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class CLIPRecipe:
    """Everything that decides how the CLIP is trained."""

    steps: int = 800
    batch_size: int = 64
    learning_rate: float = 1e-3
    warm_up_steps: int = 50
    weight_decay: float = 0.1
    max_shift: float = 0.06  # of the side
    reconstructed_share: float = 0.5  # of the pictures come from their codes
    seed: int = 0


def optimizer(recipe: CLIPRecipe) -> optax.GradientTransformation:
    """AdamW with clipped gradients, linear warm-up and cosine decay."""
    check_warm_up(recipe)
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, recipe.warm_up_steps, recipe.steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.98, weight_decay=recipe.weight_decay))


def initial_state(config: CLIPConfig, recipe: CLIPRecipe, params: Params | None = None) -> State:
    """The parameters given, or random ones."""
    random = jax.jit(partial(clip.init_params, config))
    start: Params = random(jax.random.key(recipe.seed)) if params is None else params
    return {"step": jnp.int32(0), "params": start, "optimizer": optimizer(recipe).init(start)}


@partial(jax.jit, static_argnames=("config", "recipe"), donate_argnames="state")
def train_step(
    state: State, batch: Batch, key: Array, *, config: CLIPConfig, recipe: CLIPRecipe
) -> tuple[State, Metrics]:
    """One gradient step on `pixels` (normalised), `text_tokens` and `text_mask`, matched row by row."""

    def loss_fn(params: Params) -> tuple[Array, Float[Array, "B B"]]:
        image_vectors = clip.embed_pixels(config, params, batch["pixels"])
        text_vectors = clip.embed_text(config, params, batch["text_tokens"], batch["text_mask"])
        logits = clip.logits_per_image(config, params, image_vectors, text_vectors)
        labels = jnp.arange(len(logits))
        both = (optax.softmax_cross_entropy_with_integer_labels(x, labels).mean() for x in (logits, logits.T))
        return sum(both, start=jnp.zeros(())) / 2, logits

    (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state["params"])
    updates, optimizer_state = optimizer(recipe).update(grads, state["optimizer"], state["params"])
    params: Params = optax.apply_updates(state["params"], updates)  # pyright: ignore[reportAssignmentType]
    params["logit_scale"] = jnp.minimum(params["logit_scale"], jnp.log(100.0))  # as in the paper
    accuracy = jnp.mean(logits.argmax(axis=1) == jnp.arange(len(logits)))
    return {**state, "params": params, "optimizer": optimizer_state}, {"loss": loss, "accuracy": accuracy}


def augment(image: UInt8[np.ndarray, "h w 3"], max_shift: float, rng: np.random.Generator) -> np.ndarray:
    """The picture cut or padded (with white) a little on each side, at its old size."""
    side = image.shape[0]
    left, top, right, bottom = rng.uniform(-max_shift, max_shift, 4) * side
    box = (left, top, side + right, side + bottom)
    moved = Image.fromarray(image).transform((side, side), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
    inside = Image.new("L", (side, side), 255).transform((side, side), Image.Transform.EXTENT, box)
    return np.asarray(Image.composite(moved, Image.new("RGB", (side, side), "white"), inside))


def make_batch(
    items: list[Item],
    pixels: UInt8[np.ndarray, "M h w 3"],
    reconstructed: UInt8[np.ndarray, "M h w 3"],
    tokenizer: Tokenizer,
    config: CLIPConfig,
    recipe: CLIPRecipe,
    rng: np.random.Generator,
) -> Batch:
    """Draws one picture each of different concepts, and a prompt for each picture."""
    first_of: dict[str, int] = {}
    for i in rng.permutation(len(items)):
        first_of.setdefault(items[i].concept, int(i))
        if len(first_of) == recipe.batch_size:
            break
    chosen = list(first_of.values())
    sources = [reconstructed if rng.random() < recipe.reconstructed_share else pixels for _ in chosen]
    images = [augment(source[i], recipe.max_shift, rng) for source, i in zip(sources, chosen, strict=True)]
    text_tokens, text_mask = tokenizer([draw_prompt(items[i], rng) for i in chosen])
    return {"pixels": clip.preprocess(config, images), "text_tokens": text_tokens, "text_mask": text_mask}


def train_clip(
    items: list[Item],
    pixels: UInt8[np.ndarray, "M h w 3"],
    reconstructed: UInt8[np.ndarray, "M h w 3"],
    tokenizer: Tokenizer,
    folder: Path,
    config: CLIPConfig,
    recipe: CLIPRecipe,
    params: Params | None = None,
) -> Params:
    """Trains `params`, or random ones, on `pixels[i]` (and `reconstructed[i]`) described by `items[i]`."""
    return train(
        folder,
        LoopConfig(steps=recipe.steps, seed=recipe.seed),
        initial_state(config, recipe, params),
        lambda rng, _step: make_batch(items, pixels, reconstructed, tokenizer, config, recipe, rng),
        partial(train_step, config=config, recipe=recipe),
        name="CLIP",
    )["params"]
