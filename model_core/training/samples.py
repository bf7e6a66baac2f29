"""Sheets of pictures that show how far training has come, one for each time a state is saved."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_bart.family import DalleBartConfig
from model_core.pictures.images import grid
from model_core.tokenizer import Tokenizer
from model_core.training.devices import is_first
from model_core.training.loop import State

NUM_SAMPLES = 8


def sampler(
    config: DalleBartConfig,
    tokenizer: Tokenizer,
    decode: Callable[[Int[np.ndarray, "M N"]], UInt8[np.ndarray, "M h w 3"]],
    prompts: Sequence[str],
    num_codes: int,
    sampling: dict[str, float],
    folder: Path,
) -> Callable[[State], None]:
    """A function of the training state that draws `prompts`, with seed 0 each, and writes `NUMBER_OF_STEPS.png`."""
    prompts = list(prompts)
    tokens = (*tokenizer(prompts), *tokenizer.unconditional(len(prompts)))

    def draw(state: State) -> None:
        if not is_first():
            return
        seeds = np.zeros(len(prompts), np.uint32)
        settings: dict[str, Any] = sampling | {"seeds": seeds, "num_codes": num_codes}
        codes = dalle_bart.generate(config, state["ema"], *tokens, **settings)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{int(state['step']):06d}.png"
        Image.fromarray(grid(list(decode(np.asarray(codes))), columns=4)).save(path)

    return draw
