"""The sizes and recipes of the models that the project trains itself: the shipped one, and a tiny one for tests."""

from dataclasses import dataclass, field
from typing import Any

from model_core.codecs.vqgan import VQGANConfig
from model_core.families.dalle_bart.family import DalleBartConfig
from model_core.scorers.clip import CLIPConfig, PreprocessorConfig, TextConfig, VisionConfig
from model_core.training.clip import CLIPRecipe
from model_core.training.dalle_bart import DalleBartRecipe
from model_core.training.vqgan import VQGANRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Three architectures that fit together, how to train each, and how to draw from the result."""

    vqgan: VQGANConfig
    dalle_bart: DalleBartConfig
    clip: CLIPConfig
    vqgan_recipe: VQGANRecipe = field(default_factory=VQGANRecipe)
    dalle_bart_recipe: DalleBartRecipe = field(default_factory=DalleBartRecipe)
    clip_recipe: CLIPRecipe = field(default_factory=CLIPRecipe)
    sampling: dict[str, float] = field(hash=False)


def _dalle_bart(*, width: int, heads: int, ffn: int, layers: tuple[int, int], codes: int, length: int, words: int):
    return DalleBartConfig(
        encoder_vocab_size=words,
        image_vocab_size=codes,
        image_length=length,
        max_text_length=32,
        d_model=width,
        encoder_layers=layers[0],
        encoder_attention_heads=heads,
        encoder_ffn_dim=ffn,
        decoder_layers=layers[1],
        decoder_attention_heads=heads,
        decoder_ffn_dim=ffn,
        decoder_start_token_id=codes,  # special ids as in the public mini
        eos_token_id=codes + 1,
    )


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
    dalle_bart=_dalle_bart(width=256, heads=8, ffn=512, layers=(2, 6), codes=1024, length=256, words=1536),
    clip=_clip(image=64, patch=8, width=128, layers=(3, 4), words=1536),
    vqgan_recipe=VQGANRecipe(
        steps=3000, batch_size=8, learning_rate=2.5e-3, whole_fraction=0.15, decoder_steps=3500, decoder_batch_size=8
    ),
    sampling={"guidance_scale": 1.0, "temperature": 0.7, "top_k": 50, "top_p": 1.0},
)

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
    dalle_bart=_dalle_bart(width=32, heads=2, ffn=64, layers=(1, 1), codes=64, length=64, words=768),
    clip=_clip(image=16, patch=4, width=32, layers=(1, 1), words=768),
    vqgan_recipe=VQGANRecipe(steps=60, decoder_steps=30, batch_size=4, crop=16, whole_fraction=0.0, warm_up_steps=10),
    dalle_bart_recipe=DalleBartRecipe(steps=60, batch_size=4, warm_up_steps=10),
    clip_recipe=CLIPRecipe(steps=150, batch_size=4, learning_rate=3e-3, warm_up_steps=10),
    sampling={"guidance_scale": 2.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0},
)

PRESETS = {"emoji": EMOJI, "smoke": SMOKE}
