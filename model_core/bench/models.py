"""What is benched: a model on disk, or one of a public model's size with random weights.

Speed does not depend on the weights' values, so random ones tell what a public model will do before it is downloaded.
Knows nothing of timing.

Sizes are those of the config.json files of dalle-mini, dalle-mega, vqgan_imagenet_f16_16384 and CLIP ViT-B/32.
"""

import zlib
from dataclasses import replace
from typing import Any, NamedTuple

import jax
from flax import traverse_util

from model_core import bundles, codecs, families, scorers
from model_core.bundles import REFERENCE_SAMPLING
from model_core.codecs import vqgan
from model_core.errors import InvalidValue
from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.protocol import Family
from model_core.scorers import clip
from model_core.weights import checkpoint

Params = dict[str, Any]

MINI = dalle_bart.DalleBartConfig(
    d_model=1024,
    encoder_layers=12,
    decoder_layers=12,
    encoder_attention_heads=16,
    decoder_attention_heads=16,
    encoder_ffn_dim=2730,
    decoder_ffn_dim=2730,
    encoder_vocab_size=50264,
    image_vocab_size=16384,
    image_length=256,
    max_text_length=64,
    decoder_start_token_id=16384,
    eos_token_id=16385,
)
MEGA = replace(
    MINI,
    d_model=2048,
    encoder_layers=24,
    decoder_layers=24,
    encoder_attention_heads=32,
    decoder_attention_heads=32,
    encoder_ffn_dim=4096,
    decoder_ffn_dim=4096,
    encoder_vocab_size=50272,
    image_vocab_size=16415,
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
CLIP_B32 = clip.CLIPConfig(
    text_config=clip.TextConfig(
        hidden_size=512,
        intermediate_size=2048,
        num_attention_heads=8,
        num_hidden_layers=12,
        vocab_size=49408,
        max_position_embeddings=77,
    ),
    vision_config=clip.VisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_attention_heads=12,
        num_hidden_layers=12,
        image_size=224,
        patch_size=32,
    ),
    preprocessor=clip.PreprocessorConfig(shortest_edge=224, crop_size=224),
    projection_dim=512,
)


class Size(NamedTuple):
    """A public model's parts by role: the module that computes each, and its configuration."""

    sampler: tuple[Any, Any]
    codec: tuple[Any, Any]
    scorer: tuple[Any, Any]


SIZES = {
    "mini": Size((dalle_bart, MINI), (vqgan, VQGAN_F16), (clip, CLIP_B32)),
    "mega": Size((dalle_bart, MEGA), (vqgan, VQGAN_F16), (clip, CLIP_B32)),
}


class Sampler(NamedTuple):
    """What draws the codes of a model."""

    family: Family
    config: Any
    weights: Any


def default_guidance_scale(model: str) -> float:
    """What the model draws with unless a request says otherwise; the random ones, what the public ones do."""
    sampling = REFERENCE_SAMPLING if model in SIZES else bundles.resolve(model).sampling
    return sampling["guidance_scale"]


def load_sampler(model: str, dtype: str) -> Sampler:
    """Gives what draws codes.

    Args:
      model: a name in `SIZES` for random weights, else a shipped model's name or a folder.
      dtype: float32, float16 or bfloat16.

    Raises:
      DalleServeError: there is no such model or dtype.
    """
    if model in SIZES:
        family, config = SIZES[model].sampler
        shapes: dict[str, Any] = dict(traverse_util.flatten_dict(family.param_shapes(config), sep="/"))
        of_sampler = {name: leaf for name, leaf in shapes.items() if family.role_of(name) == "sampler"}
        params = random_params(traverse_util.unflatten_dict(of_sampler, sep="/"), dtype)
    else:
        family, config, params = families.load(bundles.resolve(model).sampler, dtype, role="sampler")
    return Sampler(family, config, family.step_weights(params))


def load_codec(model: str, dtype: str) -> tuple[Any, Any, Params]:
    """As `load_sampler`, for (codec, config, params)."""
    if model in SIZES:
        codec, config = SIZES[model].codec
        return codec, config, random_params(codec.param_shapes(config), dtype)
    return codecs.load(bundles.resolve(model).codec, dtype)


def load_scorer(model: str, dtype: str) -> tuple[Any, Any, Params]:
    """As `load_sampler`, for (scorer, config, params).

    Raises:
      InvalidValue: the model has none.
    """
    if model in SIZES:
        scorer, config = SIZES[model].scorer
        return scorer, config, random_params(scorer.param_shapes(config), dtype)
    folder = bundles.resolve(model).scorer
    if folder is None:
        raise InvalidValue(f"{model} has no scorer to bench.", "model")
    return scorers.load(folder, dtype)


def random_params(shapes: Params, dtype: str) -> Params:
    """Fills a tree of shapes with normal noise of standard deviation 0.02, one array at a time on the device.

    Raises:
      InvalidValue: no such dtype.
    """
    checkpoint.float_dtype(dtype)
    named: dict[str, Any] = dict(traverse_util.flatten_dict(shapes, sep="/"))
    leaves = {name: _noise(zlib.crc32(name.encode()), leaf.shape, dtype) for name, leaf in named.items()}
    return traverse_util.unflatten_dict(leaves, sep="/")


def _noise(seed: int, shape: tuple[int, ...], dtype: str) -> jax.Array:
    key = jax.random.key(seed, impl="rbg")  # several times as fast as the default on a CPU
    return (jax.random.normal(key, shape, dtype) * 0.02).block_until_ready()
