"""A family in a few lines: how likely a code is depends on the one before it, and on the letters of the prompt."""

import jax
import jax.numpy as jnp
import numpy as np

from model_core.families.conditions import Condition, EncodedPrompt, StepNumbers
from model_core.weights.weight_files import as_published as layout
from tests.unit.deployments.bigram.config import BigramConfig, read_config

__all__ = ["CUT_AXES", "WEIGHTS", "layout", "read_config"]

WEIGHTS = ("model.safetensors",)
CUT_AXES = ((r".*", None),)
LETTERS = 128


def param_shapes(config):
    shapes = {"next": (config.codebook + 1, config.codebook), "letters": (LETTERS, config.codebook)}
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def role_of(name):
    return "sampler"


class Letters:
    """A text is its letters, as ids below `LETTERS`; no text is all zeros."""

    def __init__(self, config: BigramConfig):
        self.length = config.text_length

    def __call__(self, prompt, negative=None):
        return self._condition(prompt), self._condition(negative or "")

    def encode(self, pairs):
        return [
            EncodedPrompt(
                condition=self._condition(prompt),
                uncondition=None if negative is None else self._condition(negative),
                words=prompt.strip(),
                num_tokens=len(prompt[: self.length]),
                num_negative_tokens=len((negative or "")[: self.length]),
            )
            for prompt, negative in pairs
        ]

    def _condition(self, text):
        ids = np.zeros(self.length, np.int32)
        ids[: len(text)] = [ord(letter) % LETTERS for letter in text[: self.length]]
        return Condition(ids, (ids > 0).astype(np.int32))


def open_text(folder, dtype="float32", *, batch_size=8, place=None):
    return Letters(read_config(folder))


def cutting(place=None):
    return place


def step_weights(params):
    return params


def read_text(config, weights, values, mask):
    return jnp.einsum("rt,rtc->rc", mask.astype(jnp.float32), weights["letters"][values])


def empty(config, weights, rows, parts=1):
    return jnp.zeros((rows, config.codebook))


def prefill(config, weights, text, codes, parts=1):
    return text


def step(config, weights, state, codes, position, reach):
    is_first = position[:, None] + jnp.arange(codes.shape[1]) == 0
    return weights["next"][jnp.where(is_first, config.codebook, codes)] + state[:, None], state


def step_numbers(config):
    return StepNumbers(weights=0, text=config.codebook, per_code=config.codebook)


def logits(config, params, values, mask, codes):
    start = jnp.full((codes.shape[0], 1), config.codebook)
    return params["next"][jnp.concatenate([start, codes], 1)] + read_text(config, params, values, mask)[:, None]
