"""Benches the scorer: images and a prompt to scores."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from model_core.bench import machine
from model_core.bench.measurement import Report, measured, median_seconds
from model_core.bench.models import load_scorer
from model_core.bench.work import Work, num_weight_bytes, program_flops
from model_core.stages import computed_together

TEXT_LENGTH = 16  # tokens of the prompt; most have fewer


def bench_scorer(
    model: str, counts: Sequence[int], *, dtype: str = "float32", repeats: int = 5, size: int = 256
) -> Report:
    """Scores random pictures against one prompt, for each of `counts` images a call, as the stage does.

    The limit counts the weights once and the arithmetic of both towers. Preprocessing (Pillow, on the CPU) is in the
    time and not in the limit.

    Args:
      model: "mini" or "mega" for random weights of ViT-B/32, else a shipped model's name or a folder.
      size: side of the pictures, in pixels.

    Raises:
      DalleServeError: there is no such model or dtype, or the model has no CLIP.
    """
    scorer, config, params = load_scorer(model, dtype)
    here = machine.measure(dtype)
    length = min(TEXT_LENGTH, config.text_config.max_position_embeddings)
    tokens, mask = np.arange(length)[None], np.ones((1, length), np.int32)
    weight_bytes = num_weight_bytes({name: params[name] for name in ("text_model", "vision_model")})
    text_flops = program_flops(jax.jit(partial(scorer.embed_text, config)), params, tokens, mask)
    side = config.vision_config.image_size

    def score(pictures: list[np.ndarray]) -> np.ndarray:
        text = scorer.embed_text(config, params, tokens, mask)
        parts = np.split(scorer.preprocess(config, pictures), len(pictures) // computed_together(len(pictures)))
        vectors = jnp.concatenate([scorer.embed_pixels(config, params, part) for part in parts])
        return np.asarray(scorer.logits_per_image(config, params, vectors, text))

    def measure(images: int):
        pictures = np.random.default_rng(images).integers(256, size=(images, size, size, 3), dtype=np.uint8)
        seconds = median_seconds(lambda: score(list(pictures)), repeats)
        pixels = jax.ShapeDtypeStruct((images, side, side, 3), np.float32)
        image_flops = program_flops(jax.jit(partial(scorer.embed_pixels, config)), params, pixels)
        return measured(images, seconds, Work(weight_bytes, text_flops + image_flops), here)

    settings = {"repeats": repeats, "size": size}
    return Report("scorer", model, dtype, settings, here, tuple(map(measure, counts)))
