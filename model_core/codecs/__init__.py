from importlib import import_module
from types import SimpleNamespace

from model_core.families.conditions import Grid


def read_config(folder):
    """Until the merge."""
    config = import_module("model_core.weights.checkpoint").read_vqgan_config(folder)
    return SimpleNamespace(grid=Grid(config.grid, config.grid, config.n_embed))
