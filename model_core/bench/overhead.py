"""What the engine costs: images through it beside the same steps in a bare loop.

The loop is the static driver's: one program, called once for each code, and nothing between. With `deterministic` the
engine runs the same program; without, its caches grow with the image, which may save more than the engine costs.
"""

import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from model_core.bench import machine
from model_core.bench.comparison import Comparison, ComparisonReport, compared, in_turns
from model_core.bench.jobs import random_job, room_for
from model_core.bench.models import load_decoder
from model_core.bench.traffic import Visit, visit_all
from model_core.families.dalle_bart import dalle_bart
from model_core.families.dalle_bart.decoder import DecoderWeights
from model_core.families.dalle_bart.network import DalleBartConfig
from model_core.sampler import decode_loop as drawing
from model_core.sampler.sampling import sampling_params
from model_core.sampler.sequence import SamplerJob


def bench_overhead(
    model: str, counts: Sequence[int], *, dtype: str = "float32", deterministic: bool = False, repeats: int = 9
) -> ComparisonReport:
    """Draws guided images both ways in turns, for each of `counts` images at a time.

    Args:
      model: "mini" or "mega" for random weights of the public size, else a shipped model's name or a folder.
      deterministic: as the engine's setting.

    Raises:
      DalleServeError: there is no such model or dtype.
      EngineFailed: the engine does not end its jobs.
    """
    config, params = load_decoder(model, dtype)
    weights = dalle_bart.decoder_weights(params)
    del params
    here = machine.measure(dtype)

    def measure(images: int) -> Comparison:
        rows = room_for(images, config, weights, deterministic=deterministic)
        jobs = [random_job(config, seed) for seed in range(images)]
        visits = [Visit(job=job, arrival_s=0.0) for job in jobs]

        def engine() -> float:
            return max(one.latency_s() for one in visit_all(rows, visits))

        bare = partial(_draw, config, weights, jobs)
        engine()
        bare()  # the first of each may be slower
        return compared(f"{images} at a time, s", in_turns(bare, engine, repeats))

    settings = {"deterministic": deterministic, "repeats": repeats}
    ways = ("bare loop", "engine")
    return ComparisonReport("overhead", model, dtype, settings, here, ways, tuple(map(measure, counts)))


def _draw(config: DalleBartConfig, weights: DecoderWeights, jobs: Sequence[SamplerJob]) -> float:
    """Draws jobs that bring no codes; gives the seconds until all codes were there."""
    began = time.perf_counter()
    sampling = sampling_params(
        len(jobs),
        num_codes=config.image_vocab_size,
        guidance_scale=[job.guidance_scale for job in jobs],
        top_k=[job.top_k for job in jobs],
        seeds=[job.seed for job in jobs],
    )
    states, masks, uncond_states, uncond_masks = (
        np.stack([getattr(job, name) for job in jobs]) for name in ("states", "mask", "uncond_states", "uncond_mask")
    )
    drawn = drawing.start(config, weights, states, masks, uncond_states, uncond_masks, sampling)
    np.asarray(drawing.advance(config, weights, drawn, config.image_length).codes)
    return time.perf_counter() - began
