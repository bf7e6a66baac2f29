"""Benches the token sampler: conditions to image codes, by the rows that the engine draws."""

import time
from collections.abc import Sequence as Values
from dataclasses import replace
from statistics import median
from typing import NamedTuple

import jax
import numpy as np

from model_core import bundles, families
from model_core.bench import machine
from model_core.bench.measurement import Measurement, Report, measured
from model_core.bench.models import SIZES, default_guidance_scale, load_sampler
from model_core.bench.sequences import random_sequence, room_for, rows_of
from model_core.bench.traffic import CODES_PER_ADVANCE
from model_core.bench.work import image_work
from model_core.errors import InvalidValue
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import Sampling, Sequence


def bench_engine(
    model: str,
    counts: Values[int],
    *,
    guidance_scale: float | None = None,
    dtype: str = "float32",
    deterministic: bool = False,
    repeats: int = 3,
    num_codes: int | None = None,
    windows: Values[int | None] = (1,),
    prompts: Values[str] = (),
) -> Report:
    """Draws images, for each of `counts` images in flight and each of `windows`, windows in turns.

    Args:
      model, dtype: as `load_sampler` takes them; its errors are raised here too.
      guidance_scale: of all images; 1 saves half of the work. None takes the model's default.
      deterministic: as the engine's setting: caches are read over all positions.
      num_codes: draw so many from just behind the middle of the image, and scale the time up, which leaves out what
        comes before; None draws all.
      windows: so many codes a step tries to draw; None finds out. The limit is that of one code a step, so several may
        pass it.
      prompts: what the images show, in turn, drawn as the model's settings say; random conditions where there are none.

    Raises:
      InvalidValue: random weights read no prompts.
    """
    sampler = load_sampler(model, dtype)
    numbers, length = sampler.family.step_numbers(sampler.config), sampler.config.grid.num_codes
    here = machine.measure(dtype)
    scale = default_guidance_scale(model) if guidance_scale is None else guidance_scale
    start = 0 if num_codes is None else length // 2 + 1
    drawn = min(num_codes or length, length - start)
    of_prompts = _sequences(model, prompts, scale) if prompts else []
    num_fixed = max(0, start - 1)

    def sequence(seed: int) -> Sequence:
        random = random_sequence(sampler, seed, num_fixed=num_fixed, guidance_scale=scale)
        if not of_prompts:
            return random
        return replace(of_prompts[seed % len(of_prompts)], seed=seed, fixed_codes=random.fixed_codes)

    def measure(images: int) -> list[Measurement]:
        ways = {
            window: room_for(images, sampler, deterministic=deterministic, guidance_scale=scale, window=window)
            for window in windows
        }
        if None in ways:
            ways[None].warm_up()  # which tells it what steps cost
        runs: dict[int | None, list[_Run]] = {window: [] for window in windows}
        for turn in range(1 + repeats):
            for window, rows in ways.items():
                run = _draw(rows, [sequence(seed) for seed in range(images)], start, start + drawn)
                if turn:  # the first one compiles what it needs
                    runs[window].append(run)
        return [of_runs(images, window, found) for window, found in runs.items()]

    def of_runs(images: int, window: int | None, runs: list[_Run]) -> Measurement:
        seconds = median(run.seconds / run.codes for run in runs)  # of one code, all images together
        itemsize = jax.numpy.dtype(dtype).itemsize
        work = image_work(numbers, itemsize, rows_of(images, scale), np.arange(start, start + drawn))
        return measured(
            images,
            seconds * images * length,
            work * (length / drawn),
            here,
            codes_per_s=1 / seconds,
            first_row_s=median(run.first_row_s for run in runs),
            window="auto" if window is None else window,
            codes_a_step=sum(run.codes for run in runs) / sum(run.steps for run in runs),
        )

    settings = {"guidance_scale": scale, "deterministic": deterministic, "codes": drawn, "repeats": repeats}
    found = [one for images in counts for one in measure(images)]
    return Report("engine", model, dtype, settings, here, tuple(found))


class _Run(NamedTuple):
    """Seconds for so many codes and steps, all images together; and until each image had a row of codes."""

    seconds: float
    first_row_s: float
    codes: int
    steps: int


def _sequences(model: str, prompts: Values[str], scale: float) -> list[Sequence]:
    """An image of each prompt, to be drawn as the model's settings say."""
    if model in SIZES:
        raise InvalidValue(f"{model} has random weights, which read no prompts; leave them out.", "prompts")
    bundle = bundles.resolve(model)
    text = families.of_folder(bundle.text).open_text(bundle.text)
    sampling = Sampling(**{**bundle.sampling, "guidance_scale": scale})
    encoded = text.encode([(prompt, "" if sampling.is_guided else None) for prompt in prompts])
    return [
        Sequence(condition=one.condition, uncondition=one.uncondition, seed=0, sampling=sampling) for one in encoded
    ]


def _draw(rows: Rows, sequences: list[Sequence], start: int, stop: int) -> _Run:
    """Draws until all images are at `stop`, or somewhat further.

    From 0 on, what the engine does when a sequence joins is part of it. Further on it is not, nor is the code before,
    with which shapes grow.
    """
    for sequence in sequences:
        rows.check(sequence)
    began = time.perf_counter()
    for sequence in sequences:
        rows.join(sequence)
    if start:
        rows.advance(start - sequences[0].position)
        rows.read()
        began = time.perf_counter()
    codes_before, steps_before = sum(sequence.position for sequence in sequences), rows.num_steps
    first_row_s, goal = 0.0, start
    while goal < stop:
        goal = min(goal + CODES_PER_ADVANCE, stop)
        while (position := min(sequence.position for sequence in sequences)) < goal:
            rows.advance(goal - position)
            rows.read()
        first_row_s = first_row_s or time.perf_counter() - began
    seconds = time.perf_counter() - began
    codes = sum(sequence.position for sequence in sequences) - codes_before
    for sequence in sequences:
        rows.leave(sequence)
    return _Run(seconds, first_row_s, codes, rows.num_steps - steps_before)
