"""Scorers: how well a picture shows a prompt. Which one a folder holds, its config.json says.

A scorer is a module of functions of (config, params, arrays), imported when a folder asks for it: this package imports
no JAX. To add one: its module, its configuration beside it, and a line in `SCORERS`.
"""

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from model_core.weights.networks import Network, choose

# model_type of config.json → module; its configuration is read by MODULE_config
SCORERS = {"clip": "clip", "dalle_pytorch_clip": "dalle_pytorch_clip"}
DEFAULT = "clip"


@runtime_checkable
class Scorer(Network, Protocol):
    """A module that turns prompts and pictures into vectors, and pairs of those into scores."""

    def open_text(self, folder: Path) -> Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]:
        """Reads the folder's tokenizer: B prompts → (text_tokens, text_mask), int32 [B, T] each."""
        ...

    def preprocess(self, config: Any, images: Sequence[np.ndarray]) -> np.ndarray:
        """Turns B uint8 pictures [h, w, 3] of any size into float32 [B, *config.size, 3]."""
        ...

    def normalize(self, config: Any, pixels: Any) -> Any:
        """The last part of `preprocess`, differentiable: pixels [B, *config.size, 3], in 0…1, into what it gives."""
        ...

    def embed_text(self, config: Any, params: Any, text_tokens: Any, text_mask: Any) -> Any:
        """Turns text tokens into vectors float32 [B, P], of length 1."""
        ...

    def embed_pixels(self, config: Any, params: Any, preprocessed: Any) -> Any:
        """Turns what `preprocess` gives into vectors float32 [B, P], of length 1; differentiable in both."""
        ...

    def pixel_layers(self, config: Any, params: Any, preprocessed: Any) -> Any:
        """What each layer of the image tower makes of what `preprocess` gives, [B, L, D]; differentiable in it."""
        ...

    def logits_per_image(self, config: Any, params: Any, image_vectors: Any, text_vectors: Any) -> Any:
        """Scores every picture against every prompt, float32 [B, prompts]; higher is better."""
        ...


def of_folder(folder: str | os.PathLike) -> Scorer:
    """The scorer whose files `folder` holds. Raises as `weights.networks.choose` does."""
    return cast(Scorer, import_module(f"{__name__}.{choose(folder, SCORERS, DEFAULT)}"))


def read_config(folder: str | os.PathLike) -> Any:
    """The configuration of the scorer that `folder` holds, without its network. Raises as `load` does."""
    return import_module(f"{__name__}.{choose(folder, SCORERS, DEFAULT)}_config").read_config(Path(folder))


def load(folder: str | os.PathLike, dtype: str = "float32") -> tuple[Scorer, Any, Any]:
    """Loads a folder: (scorer, config, params). Arguments and errors as in `weights.checkpoint.load`."""
    from model_core.weights import checkpoint  # imports JAX

    scorer = of_folder(folder)
    return scorer, *checkpoint.load(scorer, folder, dtype)
