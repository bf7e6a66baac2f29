"""A training task of three numbers, for tests of the loop; run as a program, it trains slowly enough to be stopped.

It follows the batches with noise of its own: any batch or key that is missed or met twice shows in the result.
"""

import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from model_core.training.loop import LoopConfig, train

STEPS = 12


def initial_state() -> dict:
    return {"step": jnp.int32(0), "params": {"w": jnp.arange(3.0)}}


def make_batch(rng: np.random.Generator, step: int) -> np.ndarray:
    return rng.normal(size=3).astype(np.float32)


@jax.jit
def step(state: dict, batch: jax.Array, key: jax.Array) -> tuple[dict, dict]:
    w = 0.9 * state["params"]["w"] + 0.1 * batch + 0.01 * jax.random.normal(key, (3,))
    return {**state, "params": {"w": w}}, {"loss": jnp.sum(w**2)}


def run(
    folder: Path,
    *,
    steps: int = STEPS,
    log_every: int = 5,
    save_every_s: float = 1e9,
    make_batch=make_batch,
    step=step,
) -> dict:
    config = LoopConfig(steps=steps, log_every=log_every, save_every_s=save_every_s)
    return train(folder, config, initial_state(), make_batch, step, name="test")


def slowly(state: dict, batch: jax.Array, key: jax.Array) -> tuple[dict, dict]:
    time.sleep(0.2)
    return step(state, batch, key)


if __name__ == "__main__":
    every = 0.0 if "always-saving" in sys.argv else 1e9
    run(Path(sys.argv[1]), log_every=1, save_every_s=every, step=slowly)
