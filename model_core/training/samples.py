"""Sheets of pictures that show how far training has come, one for each time a state is saved."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from model_core.families.conditions import Condition
from model_core.families.dalle_bart import family
from model_core.families.dalle_bart.family import DalleBartConfig
from model_core.pictures.images import grid
from model_core.sampler.generate import generate
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
    texts = tokenizer(prompts), tokenizer.unconditional(len(prompts))

    def draw(state: State) -> None:
        if not is_first():
            return
        made = (np.asarray(family.encode(config, state["ema"], *text)) for text in texts)
        conditions = (Condition(states, mask) for states, (_, mask) in zip(made, texts, strict=True))
        settings: dict[str, Any] = sampling | {"seeds": [0] * len(prompts), "num_codes": num_codes}
        codes = generate(family, config, state["ema"], *conditions, **settings)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{int(state['step']):06d}.png"
        Image.fromarray(grid(list(decode(np.asarray(codes))), columns=4)).save(path)

    return draw
