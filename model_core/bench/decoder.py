"""Benches the image decoder: image codes to uint8 images."""

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np

from model_core.bench import machine
from model_core.bench.measurement import Report, measured, median_seconds
from model_core.bench.models import load_codec
from model_core.bench.work import Work, num_weight_bytes, program_flops
from model_core.pictures.images import to_uint8
from model_core.stages import computed_together


def bench_decoder(model: str, counts: Sequence[int], *, dtype: str = "float32", repeats: int = 5) -> Report:
    """Decodes random codes, for each of `counts` images at a time, as the stage does.

    The limit counts the weights once and the arithmetic of every image.

    Args:
      model: "mini" or "mega" for random weights of the public size, else a shipped model's name or a folder.

    Raises:
      DalleServeError: there is no such model or dtype.
    """
    codec, config, params = load_codec(model, dtype)
    grid, decode_codes = config.grid, partial(codec.decode, config)
    here = machine.measure(dtype)
    weight_bytes = num_weight_bytes({name: params[name] for name in ("decoder", "post_quant_conv")})

    def measure(images: int):
        codes = np.random.default_rng(images).integers(grid.codebook, size=(images, grid.num_codes))
        parts = np.split(codes, images // computed_together(images))

        def decode() -> list[np.ndarray]:
            return [to_uint8(np.asarray(decode_codes(params, part))) for part in parts]

        seconds = median_seconds(decode, repeats)
        flops = program_flops(jax.jit(decode_codes), params, codes)
        return measured(images, seconds, Work(weight_bytes, flops), here)

    return Report("decoder", model, dtype, {"repeats": repeats}, here, tuple(map(measure, counts)))
