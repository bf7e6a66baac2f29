"""Random jobs for the token sampler, and room for them: speed does not depend on what is drawn.

Knows nothing of timing.
"""

import numpy as np

from model_core.families.dalle_bart.decoder import DecoderWeights
from model_core.families.dalle_bart.network import DalleBartConfig
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import FREE, SamplerJob

GUIDANCE_SCALE, TOP_K = 10.0, 50  # the public models' defaults


def rows_of(images: int, guidance_scale: float = GUIDANCE_SCALE) -> int:
    """Rows of the decoder: under guidance an image has one under its prompt and one unconditional."""
    return images * (1 if guidance_scale == 1 else 2)


def room_for(
    images: int,
    config: DalleBartConfig,
    weights: DecoderWeights,
    *,
    deterministic: bool,
    guidance_scale: float = GUIDANCE_SCALE,
    kind: type[Rows] = Rows,
) -> Rows:
    """Rows for so many images at a time, whose codes may be any."""
    max_rows = max(2, rows_of(images, guidance_scale))
    return kind(config, weights, num_codes=config.image_vocab_size, max_rows=max_rows, deterministic=deterministic)


def random_job(
    config: DalleBartConfig, seed: int, *, num_fixed: int = 0, guidance_scale: float = GUIDANCE_SCALE
) -> SamplerJob:
    """An image of a prompt of its own; what guidance leads away from is the same for all.

    Args:
      num_fixed: so many codes are there from the first on.
    """
    rng = np.random.default_rng(seed)
    shape = (config.max_text_length, config.d_model)
    codes = np.full(config.image_length, FREE, np.int32)
    codes[:num_fixed] = rng.integers(config.image_vocab_size, size=num_fixed)
    ones = np.ones(config.max_text_length, np.int32)
    return SamplerJob(
        states=rng.standard_normal(shape, np.float32),
        mask=ones,
        uncond_states=np.ones(shape, np.float32),
        uncond_mask=ones,
        seed=seed,
        guidance_scale=guidance_scale,
        top_k=TOP_K,
        fixed_codes=codes,
    )
