"""What is benched: a model on disk, or one of a public model's size with random weights.

Speed does not depend on the weights' values, so random ones tell what a public model will do before it is downloaded.

Sizes are those of the config.json files of dalle-mini, dalle-mega, vqgan_imagenet_f16_16384 and CLIP ViT-B/32, of
rudalle's table for Malevich, and of minDALL-E's config.yaml.
"""

import zlib
from dataclasses import replace
from typing import Any, NamedTuple

import jax
from flax import traverse_util

from model_core import bundles, codecs, families, scorers
from model_core.codecs import vqgan
from model_core.errors import InvalidValue
from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_gpt import config as dalle_gpt_config
from model_core.families.dalle_gpt import family as dalle_gpt
from model_core.families.protocol import Family
from model_core.scorers import clip
from model_core.weights import checkpoint

Params = dict[str, Any]

MINI = dalle_bart.DalleBartConfig.of_size(
    width=1024, heads=16, ffn=2730, layers=(12, 12), codes=16384, length=256, words=50264, text=64
)
MEGA = replace(  # whose special ids are those of mini
    dalle_bart.DalleBartConfig.of_size(
        width=2048, heads=32, ffn=4096, layers=(24, 24), codes=16415, length=256, words=50272, text=64
    ),
    decoder_start_token_id=MINI.decoder_start_token_id,
    eos_token_id=MINI.eos_token_id,
)
VQGAN_F16 = vqgan.VQGANConfig(
    resolution=256,
    n_embed=16384,
    embed_dim=256,
    z_channels=256,
    ch=128,
    ch_mult=(1, 1, 2, 2, 4),
    num_res_blocks=2,
    attn_resolutions=(16,),
)


def _tower(width: int) -> dict[str, Any]:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": width // 64}
    return sizes | {"num_hidden_layers": 12}


CLIP_B32 = clip.CLIPConfig(
    text_config=clip.TextConfig(vocab_size=49408, max_position_embeddings=77, **_tower(512)),
    vision_config=clip.VisionConfig(image_size=224, patch_size=32, **_tower(768)),
    preprocessor=clip.PreprocessorConfig(shortest_edge=224, crop_size=224),
    projection_dim=512,
)
_MALEVICH = {"num_layers": 24, "hidden_size": 2048, "num_attention_heads": 16, "image_tokens_per_dim": 32} | {
    "text_seq_length": 128,
    "vocab_size": 16384 + 128,
    "image_vocab_size": 8192,
    "cogview_sandwich_layernorm": True,
}
_MINDALLE = {"embed_dim": 1536, "n_layers": 42, "n_heads": 24, "ctx_len_img": 256, "ctx_len_txt": 64}
MALEVICH = dalle_gpt_config.from_dict(
    {"model_type": "dalle_gpt", "layout": "rudalle", "hf_version": "v3", "model_params": _MALEVICH}
)
MINDALLE = dalle_gpt_config.from_dict(
    {"model_type": "dalle_gpt", "layout": "mindalle"}
    | {"stage2": {"vocab_size_txt": 16384, "vocab_size_img": 16384, "hparams": _MINDALLE}}
)
# Of each public model, by role: the module that computes a part, and its configuration.
SIZES: dict[str, dict[str, tuple[Any, Any]]] = {
    "mini": {"sampler": (dalle_bart, MINI), "codec": (vqgan, VQGAN_F16), "scorer": (clip, CLIP_B32)},
    "mega": {"sampler": (dalle_bart, MEGA), "codec": (vqgan, VQGAN_F16), "scorer": (clip, CLIP_B32)},
    "mindalle": {"sampler": (dalle_gpt, MINDALLE), "codec": (vqgan, VQGAN_F16), "scorer": (clip, CLIP_B32)},
    "malevich": {"sampler": (dalle_gpt, MALEVICH)},
}


class Sampler(NamedTuple):
    """What draws the codes of a model."""

    family: Family
    config: Any
    weights: Any


def default_guidance_scale(model: str) -> float:
    """What the model draws with unless a request says otherwise; the random ones, what the public ones do."""
    if model in SIZES:
        return SIZES[model]["sampler"][1].default_sampling["guidance_scale"]
    return bundles.resolve(model).sampling["guidance_scale"]


def load_sampler(model: str, dtype: str) -> Sampler:
    """Gives what draws codes.

    Args:
      model: one of `SIZES` for random weights of the public size, else a shipped model's name or a folder.
      dtype: float32, float16 or bfloat16.

    Raises:
      DalleServeError: there is no such model or dtype.
    """
    if model in SIZES:
        family, config = SIZES[model]["sampler"]
        shapes: dict[str, Any] = dict(traverse_util.flatten_dict(family.param_shapes(config), sep="/"))
        of_sampler = {name: leaf for name, leaf in shapes.items() if family.role_of(name) == "sampler"}
        params = random_params(traverse_util.unflatten_dict(of_sampler, sep="/"), dtype)
    else:
        family, config, params = families.load(bundles.resolve(model).sampler, dtype, role="sampler")
    return Sampler(family, config, family.step_weights(params))


def load_codec(model: str, dtype: str) -> tuple[Any, Any, Params]:
    """As `load_sampler`, for (codec, config, params)."""
    if model in SIZES:
        codec, config = _sized(model, "codec")
        return codec, config, random_params(codec.param_shapes(config), dtype)
    return codecs.load(bundles.resolve(model).codec, dtype)


def load_scorer(model: str, dtype: str) -> tuple[Any, Any, Params]:
    """As `load_sampler`, for (scorer, config, params).

    Raises:
      InvalidValue: the model has none.
    """
    if model in SIZES:
        scorer, config = _sized(model, "scorer")
        return scorer, config, random_params(scorer.param_shapes(config), dtype)
    folder = bundles.resolve(model).scorer
    if folder is None:
        raise InvalidValue(f"{model} has no scorer to bench.", "model")
    return scorers.load(folder, dtype)


def _sized(model: str, role: str) -> tuple[Any, Any]:
    if role not in SIZES[model]:
        raise InvalidValue(f"{model} has no {role} to bench.", "model")
    return SIZES[model][role]


def random_params(shapes: Params, dtype: str) -> Params:
    """Fills a tree of shapes with normal noise of standard deviation 0.02, one array at a time on the device.

    Raises:
      InvalidValue: no such dtype.
    """
    checkpoint.float_dtype(dtype)
    named: dict[str, Any] = dict(traverse_util.flatten_dict(shapes, sep="/"))
    leaves = {}
    for name, leaf in named.items():
        key = jax.random.key(zlib.crc32(name.encode()), impl="rbg")  # several times as fast as the default on a CPU
        leaves[name] = (jax.random.normal(key, leaf.shape, dtype) * 0.02).block_until_ready()
    return traverse_util.unflatten_dict(leaves, sep="/")
