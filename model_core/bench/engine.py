"""Benches the token sampler: conditions to image codes, by the rows that the engine draws."""

import time
from collections.abc import Sequence as Values
from statistics import median

import jax
import numpy as np

from model_core.bench import machine
from model_core.bench.measurement import Measurement, Report, measured
from model_core.bench.models import default_guidance_scale, load_sampler
from model_core.bench.sequences import random_sequence, room_for, rows_of
from model_core.bench.work import image_work
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import Sequence

CODES_PER_ADVANCE = 16  # as the engine's default


def bench_engine(
    model: str,
    counts: Values[int],
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
    sampler = load_sampler(model, dtype)
    numbers, length = sampler.family.step_numbers(sampler.config), sampler.config.grid.num_codes
    here = machine.measure(dtype)
    scale = default_guidance_scale(model) if guidance_scale is None else guidance_scale
    start = 0 if num_codes is None else length // 2 + 1
    drawn = min(num_codes or length, length - start)

    def measure(images: int) -> Measurement:
        rows = room_for(images, sampler, deterministic=deterministic, guidance_scale=scale)
        fixed = max(0, start - 1)

        def draw() -> tuple[float, float]:
            each = (random_sequence(sampler, seed, num_fixed=fixed, guidance_scale=scale) for seed in range(images))
            return _draw(rows, list(each), start, start + drawn)

        draw()  # compiles what it needs
        times = [draw() for _ in range(repeats)]
        seconds = median(whole for whole, _ in times)
        itemsize = jax.numpy.dtype(dtype).itemsize
        work = image_work(numbers, itemsize, rows_of(images, scale), np.arange(start, start + drawn))
        whole = length / drawn
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


def _draw(rows: Rows, sequences: list[Sequence], start: int, stop: int) -> tuple[float, float]:
    """Draws from one position to another; gives the seconds that it took, and that the first turn took.

    From 0 on, what the engine does when a sequence joins is part of it. Further on it is not, nor is the code before,
    with which shapes grow.
    """
    for sequence in sequences:
        rows.check(sequence)
    began = time.perf_counter()
    for sequence in sequences:
        rows.join(sequence)
    position = sequences[0].position

    def draw_to(end: int) -> None:
        nonlocal position
        rows.advance(end - position)
        rows.read()
        position = end

    if start:
        draw_to(start)
        began = time.perf_counter()
    draw_to(min(start + CODES_PER_ADVANCE, stop))
    first = time.perf_counter() - began
    while position < stop:
        draw_to(min(position + CODES_PER_ADVANCE, stop))
    whole = time.perf_counter() - began
    for sequence in sequences:
        rows.leave(sequence)
    return whole, first
