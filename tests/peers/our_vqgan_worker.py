"""This project's image decoder, as compare.py's first contender: codes to pixels, random weights."""

import json
import sys
import time

import jax
import numpy as np

from model_core.bench.models import VQGAN_F16, random_params
from model_core.codecs import vqgan
from model_core.stages import computed_together

images = int(sys.argv[1])
params = random_params(vqgan.param_shapes(VQGAN_F16), "float32")
codes = np.random.default_rng(0).integers(VQGAN_F16.n_embed, size=(images, VQGAN_F16.grid.num_codes), dtype=np.int32)

parts = np.split(codes, images // computed_together(images))


def decode() -> None:
    for part in parts:
        np.asarray(vqgan.decode(VQGAN_F16, params, part))


began = time.perf_counter()
decode()
print(json.dumps({"jax": jax.__version__, "warm_up_s": time.perf_counter() - began}), flush=True)
for _ in sys.stdin:
    began = time.perf_counter()
    decode()
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
