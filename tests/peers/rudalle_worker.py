"""The reference of ruDALL-E, PyPI's `rudalle`: its own `generate_images` with its cache. Talks to compare.py.

    python rudalle_worker.py IMAGES CODES

Runs in an environment of its own and imports nothing of this project. Random weights of Malevich's size. What only
downloads, other models and plots need is left out; drawing ends after so many codes, before pictures are made of them.
"""

import json
import sys
import time
import types
from unittest.mock import MagicMock

import huggingface_hub
import torch
import transformers

for name in ("torchvision", "matplotlib", "matplotlib.pyplot", "cv2", "youtokentome", "taming"):
    sys.modules.setdefault(name, MagicMock())
for name in ("vae", "tokenizer", "realesrgan", "emojich_unet", "image_prompts", "utils"):
    sys.modules[f"rudalle.{name}"] = MagicMock()


def top_k_top_p_filtering(logits, top_k=0, top_p=1.0):
    """Of transformers before its version 5, for top_k alone."""
    assert top_p == 1.0
    return logits.masked_fill(logits < torch.topk(logits, top_k)[0][..., -1, None], -float("inf"))


huggingface_hub.cached_download = None  # gone since its version 0.26, and not called here
transformers.top_k_top_p_filtering = top_k_top_p_filtering
import rudalle.pipelines  # noqa: E402
from rudalle.dalle.model import DalleModel  # noqa: E402

rudalle.pipelines.tqdm = iter

images, codes = int(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(0)
model = DalleModel(
    device="cpu",
    num_layers=24,
    hidden_size=2048,
    num_attention_heads=16,
    embedding_dropout_prob=0.1,
    output_dropout_prob=0.1,
    attention_dropout_prob=0.1,
    image_tokens_per_dim=32,
    text_seq_length=128,
    cogview_sandwich_layernorm=True,
    cogview_pb_relax=True,
    vocab_size=16384 + 128,
    image_vocab_size=8192,
).eval()


class Enough(Exception):
    """So many codes are drawn."""


class Counting:
    """The model, for so many codes."""

    def __init__(self):
        self.calls = 0
        self.get_param = model.get_param

    def __call__(self, *args, **kwargs):
        if self.calls == codes:
            raise Enough
        self.calls += 1
        return model(*args, **kwargs)


tokenizer = types.SimpleNamespace(
    encode_text=lambda text, text_seq_length: (torch.arange(text_seq_length) < 12).long() * 5
)


def draw() -> float:
    began = time.perf_counter()
    try:
        rudalle.pipelines.generate_images(
            "text", tokenizer, Counting(), None, top_k=50, top_p=1.0, images_num=images, bs=images
        )
    except Enough:
        return time.perf_counter() - began
    raise AssertionError("drawing did not end")


print(json.dumps({"torch": torch.__version__, "warm_up_s": draw()}), flush=True)
for _ in sys.stdin:
    print(json.dumps({"seconds": draw()}), flush=True)
