"""This project, as compare.py's first contender: texts to codes, what is made of the text once included.

python our_worker.py [deterministic] MODEL IMAGES CODES
"""

import json
import sys
import time

import jax
import numpy as np

from model_core.bench.models import SIZES, random_params
from model_core.bench.sequences import room_for
from model_core.families.conditions import Condition
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import Sampling, Sequence

TEXT_TOKENS = 12  # of the prompt

model, images, codes = sys.argv[-3], int(sys.argv[-2]), int(sys.argv[-1])
family, config = SIZES[model]["sampler"]
scale, num_tokens = config.default_sampling["guidance_scale"], config.condition_shape[0]
params = random_params(family.param_shapes(config), "float32")
weights = family.step_weights(params)
encoder = {"model": {"encoder": params["model"]["encoder"]}} if model == "mini" else None
del params
rows: Rows = room_for(
    images, (family, config, weights), deterministic="deterministic" in sys.argv, guidance_scale=scale
)
mask = np.stack([np.arange(num_tokens) < TEXT_TOKENS, np.arange(num_tokens) < 2]).astype(np.int32)


def conditions(seed: int) -> tuple[Condition, Condition]:
    """Of a prompt that is new, and of no text; DALL·E mini has an encoder, the others read ids where they draw."""
    tokens = np.ones((2, num_tokens), np.int32)
    tokens[0] += 1 + seed
    values = np.asarray(family.encode(config, encoder, tokens, mask)) if encoder else tokens
    return Condition(values[0], mask[0]), Condition(values[1], mask[1])


def draw(seed: int) -> None:
    prompt, nothing = conditions(seed)
    sequences = [
        Sequence(
            condition=prompt,
            uncondition=nothing if scale != 1 else None,
            seed=seed * images + image,
            sampling=Sampling(guidance_scale=scale, top_k=50),
        )
        for image in range(images)
    ]
    for sequence in sequences:
        rows.check(sequence)
        rows.join(sequence)
    while (left := codes - sequences[0].position) > 0:
        rows.advance(min(16, left))
        rows.read()
    for sequence in sequences:
        rows.leave(sequence)


began = time.perf_counter()
draw(0)
print(json.dumps({"jax": jax.__version__, "warm_up_s": time.perf_counter() - began}), flush=True)
for seed, _ in enumerate(sys.stdin, 1):
    began = time.perf_counter()
    draw(seed)
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
