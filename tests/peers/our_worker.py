"""This project, as compare.py's first contender: texts to codes, encoding included."""

import json
import sys
import time

import jax
import numpy as np

from model_core.bench.models import MINI, random_params
from model_core.families.dalle_bart import family as dalle_bart
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import SamplerJob

images, codes = map(int, sys.argv[-2:])
params = random_params(dalle_bart.param_shapes(MINI), "float32")
encoder = {"model": {"encoder": params["model"]["encoder"]}}
rows = Rows(
    MINI,
    dalle_bart.decoder_weights(params),
    num_codes=MINI.image_vocab_size,
    max_rows=2 * images,
    deterministic="deterministic" in sys.argv,
)
del params
tokens = np.ones((2, 64), np.int32)
mask = np.stack([np.arange(64) < 12, np.arange(64) < 2]).astype(np.int32)


def draw(seed: int) -> None:
    states = np.asarray(dalle_bart.encode(MINI, encoder, tokens, mask))
    seats = [
        rows.join(
            rows.check(
                SamplerJob(
                    states=states[0],
                    mask=mask[0],
                    uncond_states=states[1],
                    uncond_mask=mask[1],
                    seed=seed * images + image,
                    top_k=50,
                )
            )
        )
        for image in range(images)
    ]
    while (left := codes - seats[0].position) > 0:
        rows.advance(min(16, left))
    for seat in seats:
        rows.leave(seat)


began = time.perf_counter()
draw(0)
print(json.dumps({"jax": jax.__version__, "warm_up_s": time.perf_counter() - began}), flush=True)
for seed, _ in enumerate(sys.stdin):
    began = time.perf_counter()
    draw(seed)
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
