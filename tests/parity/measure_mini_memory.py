"""Measures how much memory a full-size DALL·E mini with random weights takes to load; with --draw also draws an image.

    python tests/parity/measure_mini_memory.py [--draw] [--folder FOLDER]

Writes a 1.75 GB float32 file (names and shapes as the public one's), loads it in fresh processes in every dtype, prints
the peak above what the process had before as a multiple of the params' bytes, and deletes the file. Linux only.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TREE = Path(__file__).parent / "fixtures" / "trees" / "dalle_mini_scanned.txt"
# The public mini's config.json, as far as it sets sizes.
CONFIG = {
    "model_type": "dallebart",
    "d_model": 1024,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "encoder_ffn_dim": 2730,
    "decoder_ffn_dim": 2730,
    "encoder_vocab_size": 50264,
    "image_vocab_size": 16384,
    "image_length": 256,
    "max_text_length": 64,
    "decoder_start_token_id": 16384,
    "bos_token_id": 16385,
    "eos_token_id": 16385,
    "pad_token_id": 16385,
    "normalize_text": True,
}
LIMIT = 1.3


class RandomLeaf:
    """Makes its values only when they are written, so that the writer never holds the whole tree."""

    def __init__(self, shape: tuple[int, ...], seed: int):
        self.shape, self.seed = shape, seed

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        values = np.random.default_rng(self.seed).standard_normal(self.shape, np.float32)
        return values * np.float32(0.02)


def read_tree(path: Path) -> dict:
    """Reads "name<tab>shape<tab>dtype" lines into a nested tree of random leaves."""
    tree: dict = {}
    for seed, line in enumerate(path.read_text().splitlines()):
        if line.startswith("#"):
            continue
        name, shape, _ = line.split("\t")
        *folders, last = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = RandomLeaf(tuple(int(side) for side in shape.split("x")), seed)
    return tree


def memory(field: str) -> int:
    """VmRSS (in use now) or VmHWM (most so far), in bytes."""
    found = re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def load_and_report(folder: Path, dtype: str, draw: bool) -> None:
    import jax

    from model_core import families
    from model_core.families.dalle_bart import family as dalle_bart

    jax.device_put(np.zeros(8)).block_until_ready()
    before, started = memory("VmRSS"), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is in use now
    _, config, params = families.load(folder, dtype)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    ratio = (memory("VmHWM") - before) / size
    print(f"{dtype}: {size / 1e6:.0f} MB of params, peak {ratio:.3f} times that, {time.perf_counter() - started:.1f} s")
    assert ratio <= LIMIT, f"more than {LIMIT}"
    if draw:
        started = time.perf_counter()
        tokens = np.full((1, config.max_text_length), 1, np.int32)
        tokens[0, :3] = 0, 100, 2
        mask = (np.arange(config.max_text_length) < 3)[None].astype(np.int32)
        codes = dalle_bart.generate(config, params, tokens, mask, tokens, mask, seeds=np.zeros(1, np.uint32))
        print(f"{codes.shape[1]} codes in {time.perf_counter() - started:.0f} s, compiling included: {codes[0, :8]} …")
        print(f"most memory ever: {memory('VmHWM') / 1e9:.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="draw one image, in float32")
    parser.add_argument("--folder", type=Path, help="where the file goes (2 GB); the system's temporary folder")
    parser.add_argument("--load", help=argparse.SUPPRESS)  # a child's job: load this dtype from --folder
    arguments = parser.parse_args()
    if arguments.load:
        return load_and_report(arguments.folder, arguments.load, arguments.draw)

    from model_core.weights import checkpoint

    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        checkpoint.save_params(folder / "flax_model.msgpack", read_tree(TREE))
        print(f"file: {(folder / 'flax_model.msgpack').stat().st_size / 1e6:.0f} MB")
        for dtype in ("float32", "float16", "bfloat16"):
            draw = ["--draw"] if arguments.draw and dtype == "float32" else []
            command = [sys.executable, __file__, "--folder", str(folder), "--load", dtype, *draw]
            subprocess.run(command, check=True, timeout=1200)
    return None


if __name__ == "__main__":
    main()
