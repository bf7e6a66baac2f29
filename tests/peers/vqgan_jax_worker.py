"""The reference's image decoder, `vqgan-jax` as dalle-mini uses it, jitted. Talks to compare.py.

Runs in an environment of its own and imports nothing of this project. The weights are random, of the size of
vqgan_imagenet_f16_16384.
"""

import contextlib
import json
import sys
import time

import jax
import numpy as np
import old_names  # noqa: F401 - puts back names that jax has dropped
from vqgan_jax.configuration_vqgan import VQGANConfig
from vqgan_jax.modeling_flax_vqgan import VQModule

images = int(sys.argv[1])
model = VQModule(VQGANConfig(n_embed=16384))
codes = np.random.default_rng(0).integers(16384, size=(images, 256), dtype=np.int32)


@jax.jit
def decode(params, codes):
    return model.apply(params, codes, method=VQModule.decode_code)


began = time.perf_counter()
with contextlib.redirect_stdout(sys.stderr):  # it prints while it is traced
    init = jax.jit(lambda key: model.init(key, codes[:1], method=VQModule.decode_code))
    params = init(jax.random.PRNGKey(0))
    assert decode(params, codes).shape == (images, 256, 256, 3)
print(json.dumps({"jax": jax.__version__, "warm_up_s": time.perf_counter() - began}), flush=True)
for _ in sys.stdin:
    began = time.perf_counter()
    np.asarray(decode(params, codes))
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
