"""One tiny codec of each kind that is trained, with a recipe of a few steps, and pictures for them."""

from typing import Any

import numpy as np

from model_core.codecs.discrete_vae_config import DiscreteVAEConfig
from model_core.codecs.openai_dvae_config import OpenAIDVAEConfig
from model_core.codecs.vqgan_config import VQGANConfig
from model_core.training.codecs.recipes import DiscreteVAERecipe, GumbelRecipe, RelaxedRecipe, VQGANRecipe

SIDE = 16
_VQGAN: dict[str, Any] = {
    "resolution": SIDE,
    "n_embed": 8,
    "embed_dim": 4,
    "z_channels": 4,
    "ch": 4,
    "ch_mult": (1, 1),
    "num_res_blocks": 0,
    "attn_resolutions": (),
    "norm_num_groups": 2,
}
CONFIGS: dict[str, Any] = {
    "vqgan": VQGANConfig(**_VQGAN),
    "gumbel": VQGANConfig(**_VQGAN, lookup="gumbel", signed_pixels=True),
    "discrete_vae": DiscreteVAEConfig(
        image_size=SIDE, num_tokens=8, codebook_dim=6, num_layers=1, hidden_dim=8, num_resnet_blocks=0
    ),
    "openai_dvae": OpenAIDVAEConfig(
        resolution=SIDE,
        vocab_size=8,
        encoder_width=4,
        encoder_blocks=1,
        decoder_width=4,
        decoder_blocks=1,
        first_width=4,
    ),
}
FEW: dict[str, Any] = {  # batches of one shape: few compilations
    "steps": 8,
    "batch_size": 2,
    "crop": SIDE,
    "whole_fraction": 0.0,
    "warm_up_steps": 1,
    "learning_rate": 0.01,
    "adversary_width": 4,
    "adversary_layers": 1,
}
RECIPES: dict[str, Any] = {
    "vqgan": VQGANRecipe(**FEW),
    "gumbel": GumbelRecipe(**FEW),
    "discrete_vae": DiscreteVAERecipe(**FEW),
    "openai_dvae": RelaxedRecipe(**FEW),
}


def pictures(count: int = 8) -> np.ndarray:
    """Pictures of two plain colours each, uint8 [count, 16, 16, 3]."""
    colors = np.random.default_rng(0).integers(256, size=(count, 2, 3), dtype=np.uint8)
    return np.repeat(np.repeat(colors[:, :, None], SIDE // 2, axis=1), SIDE, axis=2)
