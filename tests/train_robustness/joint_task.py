"""Trains a tiny DalleBart as one of several processes; run as FOLDER COORDINATOR PROCESSES INDEX [MODEL_PARALLEL].

With two processes the batch of four is two rows for each.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np

from model_core.families.dalle_bart.family import CUT_AXES, DalleBartConfig
from model_core.training import dalle_bart, devices
from model_core.training.dalle_bart import DalleBartRecipe
from model_core.training.loop import LoopConfig, train

STEPS = 5
CONFIG = DalleBartConfig(
    encoder_vocab_size=32,
    image_vocab_size=16,
    image_length=9,
    max_text_length=6,
    d_model=16,
    encoder_layers=1,
    encoder_attention_heads=2,
    encoder_ffn_dim=16,
    decoder_layers=1,
    decoder_attention_heads=2,
    decoder_ffn_dim=16,
    decoder_start_token_id=16,
    eos_token_id=17,
)
RECIPE = DalleBartRecipe(
    steps=STEPS, batch_size=4, warm_up_steps=1, optimizer="adafactor", learning_rate=1e-3, remat=True
)
MESHED = replace(RECIPE, optimizer="adamw", remat=True)  # whose momenta have the shapes of what they are of


def make_batch(rng: np.random.Generator, _step: int) -> dict[str, np.ndarray]:
    return {
        "codes": rng.integers(16, size=(4, 9), dtype=np.int32),
        "text_tokens": rng.integers(2, 32, size=(4, 6), dtype=np.int32),
        "text_mask": np.ones((4, 6), np.int32),
    }


def main(folder: Path, coordinator: str, num_processes: int, index: int, model_parallel: int = 0) -> None:
    if num_processes > 1:
        devices.connect(coordinator, num_processes, index)
    assert jax.process_count() == num_processes
    recipe = MESHED if model_parallel else RECIPE
    step = partial(dalle_bart.train_step, config=CONFIG, recipe=recipe)
    state, config = (
        dalle_bart.initial_state(CONFIG, recipe),
        LoopConfig(steps=STEPS, model_parallel=model_parallel or 1),
    )
    state = train(folder, config, state, make_batch, step, name="joint", cut_axes=CUT_AXES)
    if model_parallel > 1:
        check_cut(state, model_parallel)
    if devices.is_first():
        leaves = jax.tree_util.tree_leaves_with_path(devices.gathered(state["params"]))
        np.savez(folder / "params.npz", **{jax.tree_util.keystr(path): leaf for path, leaf in leaves})


def check_cut(state: dict, model_parallel: int) -> None:
    """Every kernel of the layers, its average and its momenta lie in so many pieces."""
    leaves = jax.tree_util.tree_leaves_with_path({name: state[name] for name in ("params", "ema", "optimizer")})
    kernels = [leaf for path, leaf in leaves if "kernel" in jax.tree_util.keystr(path) and leaf.ndim == 3]
    assert len(kernels) > 40
    for leaf in kernels:
        assert leaf.addressable_shards[0].data.size * model_parallel == leaf.size


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
