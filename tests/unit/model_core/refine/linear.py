"""A codec and a scorer that are one matrix each, so that their gradients can be computed by hand, and at once."""

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image

from model_core.families.conditions import Grid
from model_core.refine.objective import Networks

SIDE, COLOURS, PATCH, LOOKS = 12, 3, 2, 8  # of a picture, of it, of one of its codes, of what the scorer looks at
RNG = np.random.default_rng(0)
BOOK = RNG.normal(size=(7, 4))
PAINT, LOOK = RNG.normal(size=(4, PATCH * PATCH * COLOURS)) * 0.05, RNG.normal(size=(LOOKS**2 * COLOURS, 5)) * 0.3
TEXTS = RNG.normal(size=(2, 5))
TEXTS /= np.linalg.norm(TEXTS, axis=1, keepdims=True)


class Unloadable:
    """The parts of a network's module that nobody calls here."""

    WEIGHTS = ()
    read_config = param_shapes = layout = encode = decode = print


class LinearCodec(Unloadable):
    """A codec whose every code paints its own square, linearly in its vector, around grey."""

    @staticmethod
    def codebook(config: Any, params: Any) -> Any:
        return params

    @staticmethod
    def encode_grid(config: Any, params: Any, pixels: Any) -> Any:
        batch, height, width, _ = pixels.shape
        squares = pixels.reshape(batch, height // PATCH, PATCH, width // PATCH, PATCH, COLOURS).swapaxes(2, 3)
        far = squares.reshape(*squares.shape[:3], 1, -1) - (BOOK @ PAINT + 0.5)
        return (far**2).sum(axis=-1).argmin(axis=-1)

    @staticmethod
    def decode_vectors(config: Any, params: Any, vectors: Any) -> Any:
        batch, rows, columns, _ = vectors.shape
        squares = (vectors @ PAINT + 0.5).reshape(batch, rows, columns, PATCH, PATCH, COLOURS)
        return squares.swapaxes(2, 3).reshape(batch, rows * PATCH, columns * PATCH, COLOURS)


class LinearScorer(Unloadable):
    """A scorer that looks at small pictures through one matrix; "one" and "two" are its texts."""

    @staticmethod
    def open_text(folder: Any) -> Any:
        return lambda prompts: (prompts, prompts)

    @staticmethod
    def embed_text(config: Any, params: Any, text_tokens: Any, text_mask: Any) -> Any:
        return jnp.asarray([TEXTS[int(text == "two")] for text in text_tokens], jnp.float32)

    @staticmethod
    def preprocess(config: Any, images: Any) -> Any:
        small = [Image.fromarray(image).resize((LOOKS, LOOKS), Image.Resampling.BICUBIC) for image in images]
        return LinearScorer.normalize(config, np.stack(small).astype(np.float32) / 255)

    @staticmethod
    def normalize(config: Any, pixels: Any) -> Any:
        return 2 * pixels - 1

    @staticmethod
    def embed_pixels(config: Any, params: Any, preprocessed: Any) -> Any:
        vectors = preprocessed.reshape(len(preprocessed), -1) @ params
        return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)

    @staticmethod
    def pixel_layers(config: Any, params: Any, preprocessed: Any) -> Any:
        return [preprocessed]

    @staticmethod
    def logits_per_image(config: Any, params: Any, image_vectors: Any, text_vectors: Any) -> Any:
        return 10 * image_vectors @ text_vectors.T


class Config(SimpleNamespace):
    """Of either network, and one of a kind to `jit`."""

    __hash__ = object.__hash__


CODEC, SCORER = LinearCodec(), LinearScorer()
CODEC_CONFIG = Config(size=(SIDE, SIDE), grid=Grid(SIDE // PATCH, SIDE // PATCH, len(BOOK)), round_pixels=True)
SCORER_CONFIG = Config(size=(LOOKS, LOOKS))
NETWORKS = Networks(CODEC, CODEC_CONFIG, SCORER, SCORER_CONFIG)
PARAMS = {"codec": jnp.asarray(BOOK, jnp.float32), "scorer": jnp.asarray(LOOK, jnp.float32)}
