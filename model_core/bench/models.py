"""What is benched: a model on disk, or one of a public model's size with random weights.

Speed does not depend on the weights' values, so random ones tell what a public model will do before it is downloaded.
Knows nothing of timing.

Sizes are those of the config.json files of dalle-mini, dalle-mega, vqgan_imagenet_f16_16384 and CLIP ViT-B/32.
"""

import zlib
from dataclasses import replace
from typing import Any

import jax
from flax import traverse_util

from model_core import codecs, families, scorers
from model_core.codecs import vqgan
from model_core.errors import InvalidValue
from model_core.families.dalle_bart import dalle_bart
from model_core.scorers import clip
from model_core.weights import bundles, checkpoint
from model_core.weights.bundles import REFERENCE_SAMPLING

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
SIZES = {"mini": MINI, "mega": MEGA}


def default_guidance_scale(model: str) -> float:
    """What the model draws with unless a request says otherwise; the random ones, what the public ones do."""
    sampling = REFERENCE_SAMPLING if model in SIZES else bundles.resolve(model).sampling
    return sampling["guidance_scale"]


def load_decoder(model: str, dtype: str) -> tuple[dalle_bart.DalleBartConfig, Params]:
    """Gives what the token sampler needs: the configuration, and the parameters without the text encoder's.

    Args:
      model: "mini" or "mega" for random weights, else a shipped model's name or a folder.
      dtype: float32, float16 or bfloat16.

    Raises:
      DalleServeError: there is no such model or dtype.
    """
    if model in SIZES:
        shapes = dalle_bart.param_shapes(SIZES[model])
        wanted = {"model": {"decoder": shapes["model"]["decoder"]}, "lm_head": shapes["lm_head"]}
        return SIZES[model], random_params(wanted, dtype)
    _, config, params = families.load(bundles.resolve(model).sampler, dtype, half="decoder")
    return config, params


def load_vqgan(model: str, dtype: str) -> tuple[vqgan.VQGANConfig, Params]:
    """As `load_decoder`; the random one is the f16 VQGAN of both public sizes."""
    if model in SIZES:
        return VQGAN_F16, random_params(vqgan.param_shapes(VQGAN_F16), dtype)
    _, config, params = codecs.load(bundles.resolve(model).codec, dtype)
    return config, params


def load_clip(model: str, dtype: str) -> tuple[clip.CLIPConfig, Params]:
    """As `load_decoder`; the random one is ViT-B/32.

    Raises:
      InvalidValue: the model has no CLIP.
    """
    if model in SIZES:
        return CLIP_B32, random_params(clip.param_shapes(CLIP_B32), dtype)
    folder = bundles.resolve(model).scorer
    if folder is None:
        raise InvalidValue(f"{model} has no CLIP, so there is no scorer to bench.", "model")
    _, config, params = scorers.load(folder, dtype)
    return config, params


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
