"""LlamaGen drawing from captions: a projected caption in front of image codes, with rotary positions of two axes.

As a family (`families.protocol`) its conditions are the states of a T5 encoder, on the right of `CAPTION_LENGTH`
positions, which another part reads (`families.llama.t5`). Zeros stand for no caption: its place is taken by one that
was learned.

The positions of a caption are not rotated but made zero, queries and keys: so every code looks at all of them alike. What
is kept of a caption is therefore the mean of its values, and how many there were: the weight that they have together.

After LlamaGen (arXiv:2406.06525) as FoundationVision/LlamaGen computes it.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from model_core.families.conditions import Role, StepNumbers
from model_core.families.keys_values import LOWEST, KeysValues
from model_core.families.llama import blocks
from model_core.families.llama import step as steps
from model_core.families.llama.blocks import Rotary, block_shapes, linear
from model_core.families.llama.layout import Names
from model_core.families.llama.layout import layout as assembled
from model_core.families.llama.llamagen.config import CAPTION_LENGTH, LlamaGenConfig, read_config
from model_core.families.llama.step import State, Text
from model_core.weights.sharding import CutAxes
from model_core.weights.weight_files import SAFETENSORS_INDEX, SAFETENSORS_WEIGHTS, Index, Shapes

__all__ = ["CUT_AXES", "WEIGHTS", "LlamaGenConfig", "read_config"]
