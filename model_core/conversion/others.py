"""ruDALL-E, minDALL-E and LlamaGen: a sampler and what lies beside it."""

from typing import Any

from model_core.conversion import codec_parts
from model_core.conversion.files import Shelf, read_text_json
from model_core.conversion.parts import Model, Part, located, only_one
from model_core.errors import CorruptCheckpoint, UnsupportedConfig
from model_core.weights.torch_files import TorchFile

# Layers and width → heads, of the published models; everything else is told by the shapes.
_RUDALLE_HEADS = {(24, 2048): 16, (64, 3840): 60}  # Malevich, Emojich, Surrealist; Kandinsky
_MASK = "transformer.conv_mask"


def rudalle(shelf: Shelf, file: TorchFile) -> Model:
    """pytorch_model_v3.bin and bpe.model, with a VQGAN where there is one.

    Raises:
      UnsupportedConfig: the heads cannot be told, for no published model has these sizes and no config.json says them.
    """
    arrays = file.arrays()
    shapes = {name: array.final_shape for name, array in arrays.items()}
    layers = 1 + max((int(name.split(".")[2]) for name in shapes if name.startswith("transformer.layers.")), default=-1)
    try:
        width = shapes["text_embeddings.weight"][1]
        sizes = {
            "num_layers": layers,
            "hidden_size": width,
            "image_tokens_per_dim": shapes["image_row_embeddings.weight"][0],
            "text_seq_length": shapes["text_pos_embeddings.weight"][0] - 1,
            "vocab_size": shapes["text_embeddings.weight"][0],
            "image_vocab_size": shapes["image_embeddings.weight"][0],
        }
    except (KeyError, IndexError) as err:
        raise CorruptCheckpoint(f"{file.path} is no ruDALL-E: its array {err} is missing or flat.") from err
    said = _said_beside(shelf)
    heads = said.get("num_attention_heads") or _RUDALLE_HEADS.get((layers, width))
    if heads is None:
        raise UnsupportedConfig(
            f"{file.path} has {layers} layers of width {width}, as no published ruDALL-E: their heads are not known. "
            'Put a config.json with {"model_params": {"num_attention_heads": …}} beside it.'
        )
    bpe = only_one("The tokenizer bpe.model", shelf.named("bpe.model"), str(file.path))
    params = said | sizes | {"num_attention_heads": heads, "cogview_sandwich_layernorm": _has_sandwich(shapes)}
    config = {
        "model_type": "dalle_gpt",
        "layout": "rudalle",
        "hf_version": "v3" if _MASK not in arrays or arrays[_MASK].parts[0].dtype == "BOOL" else "v2",
        "model_params": params | {"cogview_pb_relax": said.get("cogview_pb_relax", True)},
        "tokenizer": bpe.name,
    }
    parts = {"sampler": Part(config, located(file, arrays), {bpe.name: bpe})}
    if (vqgan := shelf.at_most_one("VQGAN")) is not None:
        parts["codec"] = codec_parts.taming(shelf, vqgan)
    return Model(parts, description="A ruDALL-E, converted.")


def _said_beside(shelf: Shelf) -> dict[str, Any]:
    for path in shelf.named("config.json"):
        content = read_text_json(path)
        if isinstance(content, dict) and isinstance(content.get("model_params"), dict):
            return content["model_params"]
    return {}


def _has_sandwich(shapes: dict[str, Any]) -> bool:
    return "transformer.layers.0.before_first_addition_layernorm.weight" in shapes


def mindalle(shelf: Shelf, file: TorchFile) -> Model:
    """stage2_last.ckpt, config.yaml and tokenizer/, with stage1_last.ckpt where it is there."""
    found = shelf.yaml_with("stage2", "hparams")
    path = only_one("The configuration config.yaml", found, str(file.path))
    config = found[path]
    vocabulary, merges = (
        only_one(f"The tokenizer's *{ending}", shelf.named(f"*{ending}", f"tokenizer/*{ending}"), str(file.path))
        for ending in ("vocab.json", "merges.txt")
    )
    files = {f"tokenizer/{each.name}": each for each in (vocabulary, merges)}
    sampler = {"model_type": "dalle_gpt", "layout": "mindalle", **config}
    sampler["tokenizer"] = {"kind": "char_bpe", **dict(zip(("vocab", "merges"), files, strict=True))}
    parts = {"sampler": Part(sampler, located(file, file.arrays("state_dict")), files)}
    if (vqgan := shelf.at_most_one("VQGAN")) is not None:
        stage, arrays = config.get("stage1"), vqgan.arrays("state_dict")
        if not isinstance(stage, dict) or not isinstance(stage.get("hparams"), dict):
            raise CorruptCheckpoint(f"{path} says nothing of stage1, the VQGAN {vqgan.path}.")
        taming = {"embed_dim": stage.get("embed_dim"), "n_embed": stage.get("n_embed"), "ddconfig": stage["hparams"]}
        codec = codec_parts.from_taming({"model": {"params": taming}}, lookup="nearest")
        codec.pop("pdrop", None)
        parts["codec"] = Part(codec, located(vqgan, codec_parts.arrays_kept(arrays)))
    return Model(parts, "CC-BY-NC-SA-4.0", "minDALL-E, converted.")
