"""The detector: which things a picture shows, in which colours, where, and on what ground.

A small convolutional network that finds centres of things (after CenterNet, Zhou et al., arXiv:1904.07850, without
sizes). It learns from scenes of the world's generator that are made of other art (`art.py`), so it has seen neither the
drawings that models learn from nor any model's pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8
from PIL import Image, ImageFilter

from model_core.shipped.world.description import FRAME
from model_core.shipped.world.grounds import SIDE
from model_core.shipped.world.scenes import Scene, World
from model_core.shipped.world.vocabulary import COLOR_NAMES, GROUNDS
from model_core.training.loop import LoopConfig, Metrics, State, load_state, train

CELL = 8  # pixels: the grid on which centres are told
CELLS = SIDE // CELL
STEM, MIDDLE, WIDE = 48, 64, 128  # channels at 1/4, 1/4 and 1/8 of the size
BLOCKS = 4  # residual ones, on the grid of cells
GROUPS = 8
SEEN = 0.3  # a centre counts from this probability
REACH = 0.12  # of its box: how far from the centre of a thing a cell still half counts in training

Params = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRecipe:
    """How the detector is trained."""

    steps: int = 4000
    batch_size: int = 24
    learning_rate: float = 2e-3
    warm_up_steps: int = 100
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One thing that the detector sees: what, in which of the ten colours if it has one of them, and its centre."""

    thing: str
    color: str
    center: tuple[float, float]  # pixels across, down


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that the detector sees in a picture."""

    found: tuple[Found, ...]
    ground: str


def train_detector(
    folder: Path, things: Sequence[str], scenes: World, recipe: DetectorRecipe = DetectorRecipe()
) -> Params:
    """Trains it, or goes on with the training in `folder`."""

    def make_batch(rng: np.random.Generator, step: int) -> dict[str, np.ndarray]:
        first = step * recipe.batch_size
        return _batch(list(scenes.scenes(first, first + recipe.batch_size)), things, rng)

    loop = LoopConfig(steps=recipe.steps, seed=recipe.seed)
    state = train(
        folder, loop, _initial_state(len(things), recipe), make_batch, partial(_step, recipe=recipe), name="detector"
    )
    return state["params"]


def load_detector(folder: Path, num_things: int, recipe: DetectorRecipe = DetectorRecipe()) -> Params:
    """What `train_detector` left in `folder`. Raises CorruptCheckpoint where it was another one."""
    return load_state(folder / "state.msgpack", _initial_state(num_things, recipe))["params"]


def look(params: Params, things: Sequence[str], pictures: Sequence[UInt8[np.ndarray, "128 128 3"]]) -> list[Seen]:
    """What the detector sees in pictures."""
    seen = []
    for start in range(0, len(pictures), 16):
        some = pictures[start : start + 16]
        padded = np.zeros((16, SIDE, SIDE, 3), np.uint8)
        padded[: len(some)] = np.stack(some)
        outputs = jax.tree.map(np.asarray, _look(params, padded))
        seen += [_read({name: rows[i] for name, rows in outputs.items()}, things) for i in range(len(some))]
    return seen


def _read(outputs: dict[str, np.ndarray], things: Sequence[str]) -> Seen:
    heat = outputs["heat"]
    padded = np.pad(heat, 1, constant_values=0)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).max(axis=(2, 3))
    found = tuple(
        Found(
            thing=things[int(outputs["thing"][row, column].argmax())],
            color=COLOR_NAMES[int(outputs["color"][row, column].argmax())],
            center=((column + 0.5) * CELL, (row + 0.5) * CELL),
        )
        for row, column in np.argwhere((heat >= SEEN) & (heat == around))
    )
    return Seen(found=found, ground=GROUNDS[int(outputs["ground"].argmax())])


def _batch(scenes: Sequence[Scene], things: Sequence[str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Pictures, and what is in each cell: how near a centre, which thing, which colour; -1 where nothing is told."""
    count = len(scenes)
    heat = np.zeros((count, CELLS, CELLS), np.float32)
    thing, color = (np.full((count, CELLS, CELLS), -1, np.int32) for _ in range(2))
    places = (np.arange(CELLS) + 0.5) * CELL
    for number, scene in enumerate(scenes):
        for subject, boxes in zip(scene.description.subjects, scene.boxes, strict=True):
            if subject.name == FRAME:
                continue
            for box in boxes:
                across, down = box.center
                spread = max(REACH * max(box.width, box.height), CELL / 3)
                near = np.exp(-((places - across) ** 2 + (places[:, None] - down) ** 2) / (2 * spread**2))
                row, column = (min(int(place // CELL), CELLS - 1) for place in (down, across))
                near[row, column] = 1
                heat[number] = np.maximum(heat[number], near)
                thing[number, row, column] = things.index(subject.name)
                if subject.color:
                    color[number, row, column] = COLOR_NAMES.index(subject.color)
    ground = np.array([GROUNDS.index(scene.description.ground) for scene in scenes], np.int32)
    pixels = np.stack([_worn(scene.pixels, rng) for scene in scenes])
    return {"pixels": pixels, "heat": heat, "thing": thing, "color": color, "ground": ground}


def _worn(pixels: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """A picture as a decoder of codes might draw it: some are a little blurred, some noisy."""
    if rng.random() < 0.5:
        pixels = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2))))
    if rng.random() < 0.5:
        noisy = pixels + rng.normal(0, rng.uniform(2, 10), pixels.shape)
        pixels = np.clip(noisy, 0, 255).astype(np.uint8)
    return pixels


def _initial_state(num_things: int, recipe: DetectorRecipe) -> State:
    params = _init(jax.random.key(recipe.seed), num_things)
    return {"step": jnp.int32(0), "params": params, "optimizer": _optimizer(recipe).init(params)}


def _optimizer(recipe: DetectorRecipe) -> optax.GradientTransformation:
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, recipe.warm_up_steps, recipe.steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.02))


@partial(jax.jit, static_argnames="recipe", donate_argnames="state")
def _step(state: State, batch: dict[str, Array], _key: Array, *, recipe: DetectorRecipe) -> tuple[State, Metrics]:
    losses, grads = jax.value_and_grad(_loss, has_aux=True)(state["params"], batch)
    updates, kept = _optimizer(recipe).update(grads, state["optimizer"], state["params"])
    return {**state, "params": optax.apply_updates(state["params"], updates), "optimizer": kept}, losses[1]


def _loss(params: Params, batch: dict[str, Array]) -> tuple[Array, Metrics]:
    out = _forward(params, batch["pixels"])
    is_center, probability = batch["heat"] == 1, jnp.clip(jax.nn.sigmoid(out["heat"]), 1e-6, 1 - 1e-6)
    right = is_center * (1 - probability) ** 2 * jnp.log(probability)
    wrong = ~is_center * (1 - batch["heat"]) ** 4 * probability**2 * jnp.log1p(-probability)
    heat = -(right + wrong).sum() / jnp.maximum(is_center.sum(), 1)
    thing, thing_right = _classes(out["thing"], batch["thing"])
    color, color_right = _classes(out["color"], batch["color"])
    ground, ground_right = _classes(out["ground"], batch["ground"])
    total = heat + thing + 0.5 * color + 0.2 * ground
    told = {"thing": thing_right, "color": color_right, "ground": ground_right}
    return total, {"loss": total, "heat": heat} | told


def _classes(logits: Float[Array, "... C"], labels: Array) -> tuple[Array, Array]:
    """Cross entropy and accuracy where there is a label."""
    is_told = labels >= 0
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    count = jnp.maximum(is_told.sum(), 1)
    return (losses * is_told).sum() / count, ((logits.argmax(-1) == labels) & is_told).sum() / count


@jax.jit
def _look(params: Params, pixels: UInt8[Array, "B h w 3"]) -> dict[str, Array]:
    out = _forward(params, pixels)
    return out | {"heat": jax.nn.sigmoid(out["heat"])}


def _init(key: Array, num_things: int) -> Params:
    keys = iter(jax.random.split(key, 32))

    def conv(size: int, inside: int, out: int, gain: float = 2.0) -> Params:
        kernel = jax.random.normal(next(keys), (size, size, inside, out)) * (gain / (size * size * inside)) ** 0.5
        return {"kernel": kernel, "bias": jnp.zeros(out), "scale": jnp.ones(out), "shift": jnp.zeros(out)}

    heads = {"heat": 1, "thing": num_things, "color": len(COLOR_NAMES)}
    params: Params = {
        "stem": conv(7, 3, STEM),
        "middle": conv(3, STEM, MIDDLE),
        "wide": conv(3, MIDDLE, WIDE),
        "blocks": [{"first": conv(3, WIDE, WIDE), "second": conv(3, WIDE, WIDE)} for _ in range(BLOCKS)],
        "heads": {name: conv(1, WIDE, size, 0.1) for name, size in heads.items()},
        "ground": conv(1, WIDE, len(GROUNDS), 0.1),
    }
    params["heads"]["heat"]["bias"] = jnp.full(1, -3.0)
    return params


def _forward(params: Params, pixels: Array) -> dict[str, Array]:
    x = jnp.asarray(pixels, jnp.float32) / 127.5 - 1
    x = _active(params["stem"], x, stride=4)
    x = _active(params["middle"], x)
    x = _active(params["wide"], x, stride=2)
    for number, block in enumerate(params["blocks"]):  # by turns near and far, so that a cell sees a whole large thing
        inner = _active(block["first"], x, dilation=1 + 2 * (number % 2))
        x = jax.nn.relu(x + _normal(block["second"], _conv(block["second"], inner)))
    out = {name: _conv(head, x) for name, head in params["heads"].items()}
    edge = jnp.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], axis=1).mean(axis=1)
    ground = edge @ params["ground"]["kernel"][0, 0] + params["ground"]["bias"]
    return out | {"heat": out["heat"][..., 0], "ground": ground}


def _active(layer: Params, x: Array, stride: int = 1, dilation: int = 1) -> Array:
    return jax.nn.relu(_normal(layer, _conv(layer, x, stride, dilation)))


def _conv(layer: Params, x: Array, stride: int = 1, dilation: int = 1) -> Array:
    out = jax.lax.conv_general_dilated(
        x,
        layer["kernel"],
        (stride, stride),
        "SAME",
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return out + layer["bias"]


def _normal(layer: Params, x: Array) -> Array:
    """Group normalisation."""
    groups = x.reshape(*x.shape[:3], GROUPS, -1)
    mean, var = groups.mean((1, 2, 4), keepdims=True), groups.var((1, 2, 4), keepdims=True)
    return ((groups - mean) * jax.lax.rsqrt(var + 1e-5)).reshape(x.shape) * layer["scale"] + layer["shift"]
