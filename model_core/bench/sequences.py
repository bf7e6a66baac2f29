"""Random sequences for the token sampler, and room for them.

What a step takes does not depend on what is drawn. How many steps an image takes does where they draw several codes;
then real prompts tell more.
"""

import numpy as np

from model_core.bench.models import Sampler
from model_core.families.conditions import FREE, Condition
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import Sampling, Sequence

GUIDANCE_SCALE, TOP_K = 10.0, 50  # the public models' defaults


def rows_of(images: int, guidance_scale: float = GUIDANCE_SCALE) -> int:
    """Rows of the sampler: under guidance an image has one under its prompt and one unconditional."""
    return images * (1 if guidance_scale == 1 else 2)


def room_for(
    images: int,
    sampler: Sampler,
    *,
    deterministic: bool,
    guidance_scale: float = GUIDANCE_SCALE,
    kind: type[Rows] = Rows,
    window: int | None = 1,
) -> Rows:
    """Rows for so many images at a time, whose codes may be any."""
    max_rows = max(2, rows_of(images, guidance_scale))
    return kind(*sampler, max_rows=max_rows, deterministic=deterministic, window=window)


def random_sequence(
    sampler: Sampler, seed: int, *, num_fixed: int = 0, guidance_scale: float = GUIDANCE_SCALE
) -> Sequence:
    """An image of a prompt of its own; what guidance leads away from is the same for all.

    Args:
      num_fixed: so many codes are there from the first on.
    """
    rng = np.random.default_rng(seed)
    grid, shape = sampler.config.grid, sampler.config.condition_shape
    codes = np.full(grid.num_codes, FREE, np.int32)
    codes[:num_fixed] = rng.integers(grid.codebook, size=num_fixed)
    mask = np.ones(shape[0], np.int32)
    if len(shape) == 1:
        prompt, nothing = rng.integers(1, 100, size=shape, dtype=np.int32), np.zeros(shape, np.int32)
    else:
        prompt, nothing = rng.standard_normal(shape, np.float32), np.ones(shape, np.float32)
    return Sequence(
        condition=Condition(prompt, mask),
        uncondition=Condition(nothing, mask),
        seed=seed,
        sampling=Sampling(guidance_scale=guidance_scale, top_k=TOP_K),
        fixed_codes=codes,
    )
