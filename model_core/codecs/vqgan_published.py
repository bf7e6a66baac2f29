"""Configurations of published VQGANs, in the words of their repositories → the flat config.json of the Flax files.

What these functions give is checked by `VQGANConfig.from_dict`. Imports no JAX.

Sources: taming-transformers (`configs/*.yaml`), transformers (`JanusConfig`), deepseek-ai/Janus and
FoundationVision/LlamaGen.
"""

from typing import Any

from model_core.errors import UnsupportedConfig
from model_core.weights.json_files import require_integers

VQ16 = {"base_channels": 128, "channel_multiplier": [1, 1, 2, 2, 4], "num_res_blocks": 2, "latent_channels": 256}


def as_flat(raw: dict[str, Any]) -> dict[str, Any]:
    """Finds out whose configuration this is, and flattens it; UnsupportedConfig for a value that it cannot use."""
    if raw.get("model_type") == "janus":
        return from_janus(raw)
    if raw.get("model_type") == "multi_modality":
        return from_deepseek(raw)
    if "codebook_size" in raw:
        return from_llamagen(raw)
    return raw


def from_taming(raw: dict[str, Any], *, lookup: str | None = None, wavelet: bool = False) -> dict[str, Any]:
    """Flattens taming's `{"model": {"target": …, "params": {"ddconfig": {…}, …}}}`.

    Args:
      lookup: as in `VQGANConfig`; None takes it from `target`.
      wavelet: whether the decoder is Sber's, which makes pictures of twice the size.
    """
    model = _section("taming's config", raw, "model")
    params = _section("taming's config, model", model, "params")
    network = _section("taming's config, model.params", params, "ddconfig")
    if lookup is None:
        target = str(model.get("target", "")).rsplit(".", 1)[-1]
        lookups = {"VQModel": "nearest", "GumbelVQ": "gumbel"}
        if target not in lookups:
            raise UnsupportedConfig(
                f"taming's config: model.target is {model.get('target')!r:.100}; supported: {', '.join(lookups)}."
            )
        lookup = lookups[target]
    flat = {"model_type": "vqgan", **network, "embed_dim": params.get("embed_dim"), "n_embed": params.get("n_embed")}
    flat.pop("dropout", None)
    if wavelet and flat.get("out_ch") == 12:  # said by some copies of Sber's configuration
        flat["out_ch"] = 3
    if lookup == "gumbel" and flat["embed_dim"] != flat.get("z_channels"):
        raise UnsupportedConfig(
            f"taming's config: embed_dim is {flat['embed_dim']!r:.100}; in a GumbelVQ it must be z_channels, "
            f"{flat.get('z_channels')!r:.100}."
        )
    return {**flat, "lookup": lookup, "signed_pixels": True, "wavelet": wavelet}


def from_janus(raw: dict[str, Any]) -> dict[str, Any]:
    """Flattens the whole configuration of a Janus as transformers writes it, whose defaults hold for what is absent."""
    vq = VQ16 | {"num_embeddings": 16384, "embed_dim": 8} | _section("Janus config", raw, "vq_config")
    vision = _section("Janus config", raw, "vision_config") if "vision_config" in raw else {}
    for name, only in (("double_latent", False), ("in_channels", 3), ("out_channels", 3)):
        if vq.get(name, only) != only:
            raise UnsupportedConfig(f"Janus config: vq_config.{name} is {vq[name]!r:.100}; only {only!r} is supported.")
    return _vq16(vq, "channel_multiplier", vision.get("image_size", 384))


def from_deepseek(raw: dict[str, Any]) -> dict[str, Any]:
    """Flattens the whole configuration of a Janus as DeepSeek publishes it, whose codec is always a VQ-16."""
    place = "Janus config, gen_vision_config"
    params = _section(place, _section("Janus config", raw, "gen_vision_config"), "params")
    vision = raw.get("vision_config")
    side = vision.get("params", {}).get("image_size", 384) if isinstance(vision, dict) else 384
    given = {"num_embeddings": params.get("image_token_size"), "embed_dim": params.get("n_embed")}
    return _vq16(VQ16 | given, "channel_multiplier", side)


def from_llamagen(raw: dict[str, Any]) -> dict[str, Any]:
    """Flattens `ModelArgs` of LlamaGen's tokenizer, with `resolution`, which says how large its pictures are."""
    place = "LlamaGen's VQ config"
    if raw.get("codebook_l2_norm", True) is not True:
        raise UnsupportedConfig(
            f"{place}: codebook_l2_norm is {raw['codebook_l2_norm']!r:.100}; only true is supported."
        )
    if raw.get("encoder_ch_mult") != raw.get("decoder_ch_mult"):
        raise UnsupportedConfig(
            f"{place}: decoder_ch_mult is {raw.get('decoder_ch_mult')!r:.100}; only that of the encoder, "
            f"{raw.get('encoder_ch_mult')!r:.100}, is supported."
        )
    if "resolution" not in raw:
        raise UnsupportedConfig(
            f"{place}: resolution is missing: 256 for t2i_XL_stage1_256, 512 for t2i_XL_stage2_512."
        )
    vq = {
        "num_embeddings": raw["codebook_size"],
        "embed_dim": raw.get("codebook_embed_dim"),
        "latent_channels": raw.get("z_channels"),
        "base_channels": raw.get("ch", 128),
        "num_res_blocks": raw.get("num_res_blocks", 2),
        "encoder_ch_mult": raw.get("encoder_ch_mult"),
    }
    return {**_vq16(vq, "encoder_ch_mult", raw["resolution"]), "round_pixels": True}


def _vq16(vq: dict[str, Any], multipliers: str, resolution: Any) -> dict[str, Any]:
    """A VQ-16: attention at the smallest pictures only, and codebook vectors that count by their direction."""
    levels = vq.get(multipliers)
    if not isinstance(levels, list) or not levels:
        raise UnsupportedConfig(f"VQ-16 config: {multipliers} is {levels!r:.100}; it must be a list of integers.")
    require_integers(
        "VQ-16 config", {"the side of a picture": resolution, "the number of levels": min(len(levels), 99)}
    )
    return {
        "resolution": resolution,
        "n_embed": vq["num_embeddings"],
        "embed_dim": vq["embed_dim"],
        "z_channels": vq["latent_channels"],
        "ch": vq["base_channels"],
        "ch_mult": levels,
        "num_res_blocks": vq["num_res_blocks"],
        "attn_resolutions": [max(1, resolution // 2 ** (len(levels) - 1))],
        "lookup": "nearest_direction",
        "signed_pixels": True,
    }


def _section(place: str, raw: dict[str, Any], name: str) -> dict[str, Any]:
    section = raw.get(name)
    if not isinstance(section, dict):
        raise UnsupportedConfig(f"{place}: {name} is {section!r:.100}; it must be an object.")
    return section
