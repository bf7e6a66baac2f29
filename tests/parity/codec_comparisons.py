"""The comparisons of codecs and of DALLE-pytorch's CLIP, as `comparisons`; published files are converted first."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from model_core import codecs, scorers
from model_core.codecs import discrete_vae, openai_dvae, vqgan
from model_core.codecs.vqgan_network import VQGAN
from model_core.conversion.convert import convert
from model_core.pictures.images import to_uint8
from model_core.scorers import dalle_pytorch_clip as clip
from tests.parity.comparisons import FIXTURES, Comparison, equal, load_goldens, near


def temporary_folder() -> Path:
    """A folder that is there until the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="parity-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def converted(name: str) -> Path:
    """The model's folder that `dalle-serve convert` makes of a fixture."""
    folder = temporary_folder()
    convert(FIXTURES / name, folder, name, None, [])
    return folder


def with_config(folder: Path, **changes: object) -> Path:
    """A copy of a part's folder, with other entries in its config.json."""
    copy = temporary_folder() / "part"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | changes))
    return copy


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 1, -1)


def compare_discrete_vae(name: str) -> Iterator[Comparison]:
    """dp-rotary (without res blocks) and dp-plain-clip (with two), whose recorded pictures are in -1…1."""
    goldens = load_goldens(name)
    _, config, params = codecs.load(converted(name) / "codec")
    pixels = channels_last(goldens["image"]).astype(np.float32) / 255
    model = discrete_vae.DiscreteVAE(config)
    logits = jax.jit(lambda pixels: model.apply({"params": params}, pixels, method="logits"))(pixels[:1])
    yield near(name, "codec: logits of codes", 1e-4, channels_last(goldens["encoder_logits"]), logits)
    codes = discrete_vae.encode(config, params, pixels)
    yield equal(name, "codec: codes of pixels", goldens["codes"], codes)
    for key, label, some in (("decoded", "those", codes), ("decode_images", "random", goldens["decode_codes"])):
        pictures = channels_last(goldens[key]) / 2 + 0.5
        yield near(name, f"codec: pixels of {label} codes", 1e-4, pictures, discrete_vae.decode(config, params, some))


def compare_taming(name: str) -> Iterator[Comparison]:
    """dp-taming and mindalle (VQ, the same weights), rudalle (Gumbel)."""
    goldens = load_goldens(name)
    folder = converted("dp-taming" if name == "mindalle" else name) / "codec"
    _, config, params = codecs.load(folder)
    pixels = channels_last(goldens["image"]).astype(np.float32) / 255
    model = VQGAN(config)

    @jax.jit
    def compared(pixels):
        features = model.apply({"params": params}, 2 * pixels - 1, method="features")
        if config.lookup != "gumbel":
            return features
        return model.apply({"params": params}, features, method=lambda model, z: model.quantize.proj(z))

    recorded = channels_last(goldens.get("encoder_out", goldens.get("encoder_logits")))
    yield near(name, "codec: encoder output", 1e-4, recorded, compared(pixels[: len(recorded)]))
    yield equal(name, "codec: codes of pixels", goldens["codes"], vqgan.encode(config, params, pixels))
    decoded = np.clip(vqgan.decode(config, params, goldens["decode_codes"]), 0, 1)
    yield near(name, "codec: pixels of random codes", 1e-4, channels_last(goldens["decode_images"]), decoded)


def compare_openai_dvae() -> Iterator[Comparison]:
    """encoder.pkl and decoder.pkl, pickled modules."""
    name = "openai-dvae"
    goldens = load_goldens(name)
    _, config, params = codecs.load(with_config(converted(name) / "codec", resolution=32))
    pixels = channels_last(goldens["image"]).astype(np.float32) / 255
    model = openai_dvae.OpenAIDVAE(config)
    logits = jax.jit(lambda pixels: model.apply({"params": params}, pixels, method="logits"))(pixels[:1])
    yield near(name, "logits of codes", 1e-4, channels_last(goldens["encoder_logits"]), logits)
    yield equal(name, "codes of pixels", goldens["codes"], openai_dvae.encode(config, params, pixels))
    codes = jnp.asarray(goldens["decode_codes"]).reshape(-1, 4, 4)
    statistics = jax.jit(lambda codes: model.apply({"params": params}, codes, method="statistics"))(codes[:1])
    yield near(name, "statistics of pixels", 1e-4, channels_last(goldens["decoder_stats"]), statistics)
    decoded = np.clip(openai_dvae.decode(config, params, goldens["decode_codes"]), 0, 1)
    yield near(name, "pixels of random codes", 1e-4, channels_last(goldens["decode_images"]), decoded)


def compare_vq16(name: str) -> Iterator[Comparison]:
    """janus-tiny (out of the file of the whole model, as transformers lays it out) and llamagen-tiny."""
    goldens = load_goldens(name)
    folder = FIXTURES / name if name == "janus-tiny" else with_config(FIXTURES / name / "vq", resolution=12)
    _, config, params = codecs.load(folder)
    model = VQGAN(config)
    features = jax.jit(lambda pixels: model.apply({"params": params}, pixels, method="features"))
    pixels = goldens["edit_images"].astype(np.float32) / 255
    yield near(name, "codec: encoder output", 1e-4, goldens["edit_encoder_out"], features(2 * pixels - 1))
    yield equal(name, "codec: codes of pixels", goldens["edit_codes"], vqgan.encode(config, params, pixels))
    decoded = np.asarray(vqgan.decode(config, params, goldens["codes"]))
    yield near(name, "codec: pixels of random codes", 1e-4, goldens["pixels"], decoded * 2 - 1)
    pictures = to_uint8(decoded, config.round_pixels)
    yield near(name, "codec: finished pictures, of 255", 1, goldens["images"], pictures)
    share = np.mean(pictures != goldens["images"])
    yield Comparison(name, "codec: share of bytes that differ", 0.005, float(share))


def compare_dalle_pytorch_clip() -> Iterator[Comparison]:
    """The scores of dp-plain-clip: with and without a mask, and of the pictures of greedy codes."""
    name = "dp-plain-clip"
    goldens = load_goldens(name)
    _, config, params = scorers.load(converted(name) / "scorer")
    codec, codec_config, codec_params = codecs.load(converted(name) / "codec")
    tokens, _ = clip.open_text(converted(name) / "scorer")(goldens["prompts"].tolist())
    yield equal(name, "CLIP's text tokens", goldens["input_ids"], tokens)
    pixels = channels_last(goldens["image"]).astype(np.float32) / 255
    # The reference scores what its codec decodes, which is not brought to 0…1.
    drawn = 2 * np.asarray(codec.decode(codec_config, codec_params, goldens["greedy"])) - 1
    everything = np.ones_like(tokens)
    masked = (tokens != 0).astype(np.int32)
    masked[:, 0] = 1
    for key, label, count, mask, pictures in (
        ("clip_score_images", "of pictures", 3, everything, pixels),
        ("clip_score_images_masked", "of pictures, with a mask", 3, masked, pixels),
        ("clip_score_greedy", "of greedy codes", 6, everything, drawn),
    ):
        text = clip.embed_text(config, params, tokens[:count], mask[:count])
        scores = clip.logits_per_image(config, params, clip.embed_pixels(config, params, pictures), text)
        yield near(name, f"CLIP scores {label}", 1e-4, goldens[key], np.diagonal(scores))


ALL: dict[str, Callable[[], Iterator[Comparison]]] = {
    "openai-dvae": compare_openai_dvae,
    "dp-rotary, codec": lambda: compare_discrete_vae("dp-rotary"),
    "dp-plain-clip, codec": lambda: compare_discrete_vae("dp-plain-clip"),
    "dp-plain-clip, scorer": compare_dalle_pytorch_clip,
    "dp-taming, codec": lambda: compare_taming("dp-taming"),
    "mindalle, codec": lambda: compare_taming("mindalle"),
    "rudalle, codec": lambda: compare_taming("rudalle"),
    "janus-tiny, codec": lambda: compare_vq16("janus-tiny"),
    "llamagen-tiny, codec": lambda: compare_vq16("llamagen-tiny"),
}
