from math import isqrt
from types import SimpleNamespace

from model_core.families.conditions import Grid
from model_core.weights.json_files import read_json


def read_config(folder):
    """Until the merge."""
    raw = read_json(folder, "config.json")
    side = isqrt(int(raw.get("image_length", 256)))
    return SimpleNamespace(grid=Grid(side, side, raw.get("image_vocab_size", 16384)))
