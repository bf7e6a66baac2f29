"""Sizes and recipes: of the shipped model, of a tiny one for tests, and of DALL·E mini and mega as their authors say.

`mini-reference` and `mega-reference` hold what is known of how these were trained. What is not known has the project's
own value, and is said to be. They have not been run here.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from model_core.bench.models import CLIP_B32, MEGA, MINI, VQGAN_F16
from model_core.codecs.vqgan import VQGANConfig
from model_core.families.dalle_bart.family import DalleBartConfig
from model_core.scorers.clip import CLIPConfig, PreprocessorConfig, TextConfig, VisionConfig
from model_core.training.clip import CLIPRecipe
from model_core.training.codecs.kinds import name_of
from model_core.training.codecs.recipes import (
    CodecRecipe,
    DiscreteVAERecipe,
    GumbelRecipe,
    RelaxedRecipe,
    VQGANRecipe,
)
from model_core.training.dalle_bart import DalleBartRecipe
from model_core.training.decoder_only import DecoderRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Three architectures that fit together, how to train each, and how to draw from the result.

    Attributes:
      vqgan: or another codec's configuration, for a run that starts from a model with one; then its recipe counts.
      dalle_bart: or that of another family, for a run that starts from a model of one; then `decoder_recipe` counts.
    """

    vqgan: Any
    dalle_bart: Any
    clip: CLIPConfig
    vqgan_recipe: VQGANRecipe = field(default_factory=VQGANRecipe)
    gumbel_recipe: GumbelRecipe = field(default_factory=GumbelRecipe)
    discrete_vae_recipe: DiscreteVAERecipe = field(default_factory=DiscreteVAERecipe)
    openai_dvae_recipe: RelaxedRecipe = field(default_factory=RelaxedRecipe)
    dalle_bart_recipe: DalleBartRecipe = field(default_factory=DalleBartRecipe)
    decoder_recipe: DecoderRecipe = field(default_factory=DecoderRecipe)
    clip_recipe: CLIPRecipe = field(default_factory=CLIPRecipe)
    sampling: dict[str, float] = field(hash=False)

    @property
    def codec_recipe(self) -> CodecRecipe:
        """That of the codec's kind; UnsupportedConfig where there is none."""
        return getattr(self, f"{name_of(self.vqgan)}_recipe")


def _clip(*, image: int, patch: int, width: int, layers: tuple[int, int], words: int) -> CLIPConfig:
    tower: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": max(width // 32, 1),
    }
    return CLIPConfig(
        text_config=TextConfig(num_hidden_layers=layers[0], vocab_size=words, max_position_embeddings=32, **tower),
        vision_config=VisionConfig(num_hidden_layers=layers[1], image_size=image, patch_size=patch, **tower),
        preprocessor=PreprocessorConfig(shortest_edge=image, crop_size=image),
        projection_dim=width,
    )


EMOJI = Preset(  # the shipped model
    vqgan=VQGANConfig(
        resolution=128,
        n_embed=1024,
        embed_dim=16,
        z_channels=64,
        ch=8,
        ch_mult=(2, 3, 6, 12),
        num_res_blocks=1,
        attn_resolutions=(),
        resamp_with_conv=False,
        norm_num_groups=4,
    ),
    dalle_bart=DalleBartConfig.of_size(
        width=256, heads=8, ffn=512, layers=(2, 6), codes=1024, length=256, words=1536, text=32
    ),
    clip=_clip(image=64, patch=8, width=128, layers=(3, 4), words=1536),
    vqgan_recipe=VQGANRecipe(
        steps=3000, batch_size=8, learning_rate=2.5e-3, whole_fraction=0.15, decoder_steps=3500, decoder_batch_size=8
    ),
    sampling={"guidance_scale": 1.0, "temperature": 0.7, "top_k": 50, "top_p": 1.0},
)

_SMOKE_CODEC: dict[str, Any] = {
    "steps": 60,
    "decoder_steps": 30,
    "batch_size": 4,
    "crop": 16,
    "whole_fraction": 0.0,
    "warm_up_steps": 10,
}
SMOKE = Preset(  # proves that training works from end to end; draws nothing worth seeing
    vqgan=VQGANConfig(
        resolution=16,
        n_embed=64,
        embed_dim=8,
        z_channels=16,
        ch=8,
        ch_mult=(1, 2),
        num_res_blocks=1,
        attn_resolutions=(),
        resamp_with_conv=False,
        norm_num_groups=4,
    ),
    dalle_bart=DalleBartConfig.of_size(
        width=32, heads=2, ffn=64, layers=(1, 1), codes=64, length=64, words=768, text=32
    ),
    clip=_clip(image=16, patch=4, width=32, layers=(1, 1), words=768),
    vqgan_recipe=VQGANRecipe(**_SMOKE_CODEC),
    gumbel_recipe=GumbelRecipe(**_SMOKE_CODEC),
    discrete_vae_recipe=DiscreteVAERecipe(**_SMOKE_CODEC),
    openai_dvae_recipe=RelaxedRecipe(**_SMOKE_CODEC, learning_rate=2e-3),
    dalle_bart_recipe=DalleBartRecipe(steps=60, batch_size=4, warm_up_steps=10),
    decoder_recipe=DecoderRecipe(steps=60, batch_size=4, warm_up_steps=10, learning_rate=2e-3),
    clip_recipe=CLIPRecipe(steps=150, batch_size=4, learning_rate=3e-3, warm_up_steps=10),
    sampling={"guidance_scale": 2.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0},
)

# Without what the project adds for small models: nothing is corrupted, nothing averaged. That no caption is dropped is
# the default of dalle-mini's train.py.
_AS_PUBLISHED = DalleBartRecipe(
    heavy_share=0.0, light_corruption=0.0, clean_fraction=0.0, ema_decay=0.0, weight_decay=0.0, prompt_dropout=0.0
)
_MINI = replace(  # dalle-mini's dev/seq2seq/do_big_run.sh, on one TPU v3-8; weight decay and clipping are not known
    _AS_PUBLISHED,
    optimizer="adafactor",
    learning_rate=5e-3,
    warm_up_steps=5000,
    schedule="linear",
    batch_size=56 * 8 * 8,  # a device, devices, accumulation
    accumulation=8,
    steps=6 * 129_847_128 // (56 * 8 * 8),  # six epochs of so many captions
    validate_every=1000,
)
_MEGA = replace(  # the training journal of DALL·E mega
    _AS_PUBLISHED,
    optimizer="shampoo",
    learning_rate=1e-4,
    warm_up_steps=10_000,
    schedule="plateau",  # its authors did it by hand, by how much is not known; from 1.8e9 samples on exponential
    beta1=0.9,
    beta2=0.99,
    clip_norm=0.0,
    batch_size=44 * 32 * 3,  # a copy of the model, copies, accumulation: 4224
    accumulation=3,  # "increasing": when and by how much is not known; see `batch_growth`
    model_parallel=8,
    remat=True,
    steps=2_000_000_000 // (44 * 32 * 3),  # when it ended is not known: after 1.8e9 samples
    validate_every=400,  # the default of dalle-mini's train.py
    save_every_s=3600.0,
)
_REFERENCE = {"guidance_scale": 10.0, "temperature": 1.0, "top_k": 50, "top_p": 1.0}
MINI_REFERENCE = Preset(vqgan=VQGAN_F16, dalle_bart=MINI, clip=CLIP_B32, dalle_bart_recipe=_MINI, sampling=_REFERENCE)
MEGA_REFERENCE = Preset(
    vqgan=VQGAN_F16,
    dalle_bart=replace(MEGA, init_std=0.01),
    clip=CLIP_B32,
    dalle_bart_recipe=_MEGA,
    sampling=_REFERENCE,
)

PRESETS = {
    "emoji": EMOJI,
    "smoke": SMOKE,
    "mini-reference": MINI_REFERENCE,
    "mega-reference": MEGA_REFERENCE,
}
