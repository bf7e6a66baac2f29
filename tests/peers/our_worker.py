"""This project, as compare.py's first contender: texts to codes, encoding included."""

import json
import sys
import time

import jax
import numpy as np

from model_core.bench.models import MINI, random_params
from model_core.families.conditions import Condition
from model_core.families.dalle_bart import family
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import Sampling, Sequence

images, codes = map(int, sys.argv[-2:])
params = random_params(family.param_shapes(MINI), "float32")
encoder = {"model": {"encoder": params["model"]["encoder"]}}
rows = Rows(
    family,
    MINI,
    family.step_weights(params),
    max_rows=2 * images,
    deterministic="deterministic" in sys.argv,
)
del params
tokens = np.ones((2, 64), np.int32)
mask = np.stack([np.arange(64) < 12, np.arange(64) < 2]).astype(np.int32)


def draw(seed: int) -> None:
    states = np.asarray(family.encode(MINI, encoder, tokens, mask))
    prompt, nothing = map(Condition, states, mask)
    sequences = [
        Sequence(
            condition=prompt,
            uncondition=nothing,
            seed=seed * images + image,
            sampling=Sampling(guidance_scale=10.0, top_k=50),
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
for seed, _ in enumerate(sys.stdin):
    began = time.perf_counter()
    draw(seed)
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
