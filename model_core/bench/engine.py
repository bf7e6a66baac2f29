"""Benches the token sampler: encoder states to image codes, by the rows that the engine draws."""

import time
from collections.abc import Sequence
from statistics import median

import jax
import numpy as np

from model_core.bench import machine
from model_core.bench.jobs import random_job, room_for, rows_of
from model_core.bench.measurement import Measurement, Report, measured
from model_core.bench.models import default_guidance_scale, load_decoder
from model_core.bench.work import image_work
from model_core.families.dalle_bart import dalle_bart
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import SamplerJob

CODES_PER_ADVANCE = 16  # as the engine's default


def bench_engine(
    model: str,
    counts: Sequence[int],
    *,
    guidance_scale: float | None = None,
    dtype: str = "float32",
    deterministic: bool = False,
    repeats: int = 3,
    num_codes: int | None = None,
) -> Report:
    """Draws images of random encoder states, for each of `counts` images in flight.

    Args:
      model: "mini" or "mega" for random weights of the public size, else a shipped model's name or a folder.
      guidance_scale: of all images; 1 saves half of the work. None takes the model's default.
      deterministic: as the engine's setting: caches are read over all positions.
      num_codes: draw so many from just behind the middle of the image, and scale the time up, which leaves out what
        comes before; None draws all.

    Raises:
      DalleServeError: there is no such model or dtype.
    """
    config, params = load_decoder(model, dtype)
    weights = dalle_bart.decoder_weights(params)
    del params
    here = machine.measure(dtype)
    scale = default_guidance_scale(model) if guidance_scale is None else guidance_scale
    start = 0 if num_codes is None else config.image_length // 2 + 1
    drawn = min(num_codes or config.image_length, config.image_length - start)

    def measure(images: int) -> Measurement:
        rows = room_for(images, config, weights, deterministic=deterministic, guidance_scale=scale)
        fixed = max(0, start - 1)
        jobs = [random_job(config, seed, num_fixed=fixed, guidance_scale=scale) for seed in range(images)]
        _draw(rows, jobs, start, start + drawn)  # compiles what it needs
        times = [_draw(rows, jobs, start, start + drawn) for _ in range(repeats)]
        seconds = median(whole for whole, _ in times)
        itemsize = jax.numpy.dtype(dtype).itemsize
        work = image_work(config, itemsize, rows_of(images, scale), np.arange(start, start + drawn))
        whole = config.image_length / drawn
        return measured(
            images,
            seconds * whole,
            work * whole,
            here,
            codes_per_s=images * drawn / seconds,
            first_row_s=median(first for _, first in times),
        )

    settings = {"guidance_scale": scale, "deterministic": deterministic, "codes": drawn, "repeats": repeats}
    return Report("engine", model, dtype, settings, here, tuple(map(measure, counts)))


def _draw(rows: Rows, jobs: list[SamplerJob], start: int, stop: int) -> tuple[float, float]:
    """Draws all jobs from one position to another; gives the seconds that it took, and that the first advance took.

    From 0 on, what the engine does when a job joins is part of it. Further on it is not, nor is the code before, with
    which caches grow.
    """
    began = time.perf_counter()
    seats = [rows.join(rows.check(job)) for job in jobs]
    if start:
        rows.advance(start - seats[0].position)
        began = time.perf_counter()
    rows.advance(min(CODES_PER_ADVANCE, stop - start))
    first = time.perf_counter() - began
    while (left := stop - seats[0].position) > 0:
        rows.advance(min(CODES_PER_ADVANCE, left))
    whole = time.perf_counter() - began
    for seat in seats:
        rows.leave(seat)
    return whole, first
