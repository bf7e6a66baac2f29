"""PyPI's `min-dalle` on torch: its own encoder and decoder. Talks to compare.py.

Runs in an environment of its own and imports nothing of this project. Its constructor would download weights, so the
two networks are made directly, and its loop over positions is repeated here. It looks at all 256 positions at every
step, so every step takes the same time: some are drawn, spread over the image, and the time is scaled up.
"""

import json
import sys
import time

import torch
from min_dalle.models import DalleBartDecoder, DalleBartEncoder

torch.set_grad_enabled(False)
images, codes = int(sys.argv[1]), int(sys.argv[2])
steps = range(0, codes, max(1, codes // 16))
sizes = {"embed_count": 1024, "attention_head_count": 16, "glu_embed_count": 2730, "layer_count": 12, "device": "cpu"}
encoder = DalleBartEncoder(text_token_count=64, text_vocab_count=50264, **sizes).eval()
decoder = DalleBartDecoder(image_vocab_count=16384, **sizes).eval()
text = torch.ones((2, 64), dtype=torch.long)  # 1 is its padding; the unconditional text first
text[0, :2] = torch.tensor([0, 2])
text[1, :12] = torch.arange(12) + 2
settings = torch.tensor([1.0, 50.0, 10.0])  # temperature, top_k, guidance


def draw() -> float:
    """Draws; gives the seconds that all codes would take."""
    began = time.perf_counter()
    rows = [0] * images + [1] * images
    states = encoder.forward(text)[rows]
    mask = text[rows].not_equal(1)[:, None, None, :]
    encoded = time.perf_counter()
    cache = torch.zeros((12, images * 4, 256, 1024))
    drawn = torch.full((images, 257), 2**14 - 1, dtype=torch.long)
    positions = torch.arange(256)
    for i in steps:
        drawn[:, i + 1], cache = decoder.sample_tokens(
            settings=settings,
            attention_mask=mask,
            encoder_state=states,
            attention_state=cache,
            prev_tokens=drawn[:, [i]],
            token_index=positions[[i]],
        )
    return encoded - began + (time.perf_counter() - encoded) * codes / len(steps)


draw()
print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
for _ in sys.stdin:
    print(json.dumps({"seconds": draw()}), flush=True)
