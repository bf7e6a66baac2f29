"""Janus in transformers: its own `generate` with its cache. Talks to compare.py.

    python janus_worker.py IMAGES CODES

Runs in an environment of its own and imports nothing of this project. Random weights of Janus-Pro-1B's size; a small
vision tower, which drawing never calls.
"""

import json
import sys
import time

import torch
from transformers import GenerationConfig, JanusConfig, JanusForConditionalGeneration

images, codes = int(sys.argv[1]), int(sys.argv[2])
text = {
    "model_type": "llama",
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "intermediate_size": 5632,
    "vocab_size": 102400,
    "max_position_embeddings": 16384,
}
vision = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "projection_dim": 2048}
config = JanusConfig(text_config=text, vision_config=vision | {"num_image_tokens": codes})
config.vq_config.projection_dim = config.vq_config.image_token_embed_dim = 2048
torch.manual_seed(0)
model = JanusForConditionalGeneration(config).eval()
prompt = torch.randint(10, 1000, (images, 12))
drawing = GenerationConfig(
    do_sample=True,
    top_k=50,
    guidance_scale=5.0,
    max_length=12 + codes,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=3,
    generation_kwargs={"boi_token_id": 4},
)


@torch.no_grad()
def draw() -> float:
    began = time.perf_counter()
    drawn = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        generation_mode="image",
        generation_config=GenerationConfig(**drawing.to_dict()),
    )
    assert drawn.shape == (images, codes), drawn.shape
    return time.perf_counter() - began


print(json.dumps({"torch": torch.__version__, "warm_up_s": draw()}), flush=True)
for _ in sys.stdin:
    print(json.dumps({"seconds": draw()}), flush=True)
