"""The reference itself, PyPI's `dalle-mini`: its own `generate`, jitted, layers unrolled. Talks to compare.py.

Runs in an environment of its own and imports nothing of this project. Wandb, which only loading
from there needs, is left out.
"""

import json
import sys
import time
import types

import jax
import numpy as np
import old_names  # noqa: F401 - puts back names that jax has dropped

sys.modules["wandb"] = types.ModuleType("wandb")
from dalle_mini.model import DalleBart, DalleBartConfig  # noqa: E402

images, codes = int(sys.argv[1]), int(sys.argv[2])
config = DalleBartConfig(
    d_model=1024,
    encoder_layers=12,
    decoder_layers=12,
    encoder_attention_heads=16,
    decoder_attention_heads=16,
    encoder_ffn_dim=2730,
    decoder_ffn_dim=2730,
    encoder_vocab_size=50264,
    image_vocab_size=16384,
    image_length=256,
    max_text_length=64,
    decoder_start_token_id=16384,
    bos_token_id=16385,
    pad_token_id=16385,
    eos_token_id=16385,
    min_length=257,
    max_length=257,
    use_scan=False,
    use_bias=False,
    ln_type="layernorm",
    ln_positions="normformer",
    use_head_scale=False,
    use_cosine_attention=False,
    use_alibi=False,
    use_absolute_position_embeddings=True,
    use_deepnet_scaling=False,
    use_glu=True,
    use_final_ln_encoder=True,
    use_final_ln_decoder=True,
    force_ln_scale=False,
    tie_word_embeddings=False,
    do_sample=True,
    gradient_checkpointing=False,
)
model = DalleBart(config, _do_init=False)
params = model.init_weights(jax.random.PRNGKey(0), model.input_shape)
tokens = np.ones((images, 64), np.int32)
tokens[:, :12] = np.arange(12)
mask = (np.arange(64) < 12).astype(np.int32) * np.ones((images, 1), np.int32)
mask_uncond = (np.arange(64) < 2).astype(np.int32) * np.ones((images, 1), np.int32)


@jax.jit
def generate(params, key):
    return model.generate(
        tokens,
        attention_mask=mask,
        input_ids_uncond=tokens,
        attention_mask_uncond=mask_uncond,
        prng_key=key,
        params=params,
        condition_scale=10.0,
        max_length=codes + 1,  # also the length of its caches, so that fewer codes are a little in its favour
    ).sequences


began = time.perf_counter()
generate(params, jax.random.PRNGKey(0)).block_until_ready()
print(json.dumps({"jax": jax.__version__, "warm_up_s": time.perf_counter() - began}), flush=True)
for seed, _ in enumerate(sys.stdin):
    began = time.perf_counter()
    drawn = generate(params, jax.random.PRNGKey(seed)).block_until_ready()
    assert drawn.shape == (images, codes + 1)
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
