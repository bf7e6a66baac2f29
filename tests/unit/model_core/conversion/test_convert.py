"""Published files become folders of parts; what they hold arrives number by number, and what is missing is named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from model_core import bundles, codecs
from model_core.codecs import vqgan
from model_core.conversion import convert as conversion
from model_core.conversion import dalle_pytorch
from model_core.conversion.files import Shelf
from model_core.conversion.others import _RUDALLE_HEADS
from model_core.errors import CheckpointError, CorruptCheckpoint, ModelNotFound, UnsupportedConfig
from tests import torch_pickles as write

FIXTURES = Path(__file__).parents[3] / "parity" / "fixtures"
LAYOUTS = {"dp-rotary": "dalle_pytorch", "dp-plain-clip": "dalle_pytorch", "dp-taming": "dalle_pytorch"} | {
    "rudalle": "rudalle",
    "mindalle": "mindalle",
}
WEIGHTS = dict.fromkeys(LAYOUTS, "dalle.pt") | {"rudalle": "pytorch_model.bin", "mindalle": "stage2_last.ckpt"}


def convert(source: Path, destination: Path, *also: Path, dtype: str | None = None) -> dict[str, int]:
    destination.mkdir(exist_ok=True)
    return conversion.convert(source, destination, "a model", dtype, list(also))


@pytest.fixture
def published(tmp_path):
    """Copies a fixture's published files, without what is to be made of them."""

    def copy(name: str) -> Path:
        kept = shutil.ignore_patterns("goldens.npz", "model.safetensors", "clip")
        return Path(shutil.copytree(FIXTURES / name, tmp_path / "published", ignore=kept))

    return copy


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("asked", ["folder", "file"])
def test_every_array_of_the_sampler_arrives(published, tmp_path, name, asked):
    source = published(name)
    convert(source if asked == "folder" else source / WEIGHTS[name], tmp_path / "out")
    arrays, expected = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "out/sampler", FIXTURES / name)
    )
    assert arrays.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(arrays[key], array)
        assert arrays[key].dtype == array.dtype
    config, wanted = (
        json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "out/sampler", FIXTURES / name)
    )
    assert (config["model_type"], config["layout"]) == ("dalle_gpt", LAYOUTS[name])
    told = ("hparams", "vae_class_name", "vae_params", "vae_config", "vae_image_size", "model_params", "hf_version")
    for key in (*told, "stage2", "dataset"):
        if key in wanted:
            assert config[key] == wanted[key], key
    files = {path.name for path in (tmp_path / "out/sampler").rglob("*") if path.is_file()}
    assert len(files - {"config.json", "model.safetensors"}) == (2 if name == "mindalle" else 1)


@pytest.mark.parametrize("name", ["dp-rotary", "dp-plain-clip"])
def test_the_own_codec_and_vae_pt_are_the_same(published, tmp_path, name):
    source = published(name)
    convert(source, tmp_path / "out")
    convert(source / "vae.pt", tmp_path / "alone")
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["codec"]
    ours, alone = (load_file(tmp_path / folder / "codec/model.safetensors") for folder in ("out", "alone"))
    whole = load_file(FIXTURES / name / "model.safetensors")
    assert ours.keys() == alone.keys() == {key[4:] for key in whole if key.startswith("vae.")}
    for key in ours:
        np.testing.assert_array_equal(ours[key], alone[key])
        np.testing.assert_array_equal(ours[key], whole[f"vae.{key}"])
    assert codecs.read_config(tmp_path / "out/codec") == codecs.read_config(tmp_path / "alone/codec")


def test_a_model_is_a_bundle_with_the_defaults_of_its_family(published, tmp_path):
    convert(published("rudalle"), tmp_path / "out")
    bundle = bundles.resolve(tmp_path / "out")
    assert bundle.parts == {"sampler": tmp_path / "out/sampler", "codec": tmp_path / "out/codec"}
    assert (bundle.id, bundle.size, bundle.licence) == ("a model", 16, "unknown")
    assert bundle.sampling == {"guidance_scale": 1.0, "temperature": 1.0, "top_k": 2048, "top_p": 0.995}


def test_the_scorer_comes_with_its_tokenizer(published, tmp_path):
    convert(published("dp-plain-clip"), tmp_path / "out")
    ours, wanted = (
        load_file(path / "model.safetensors") for path in (tmp_path / "out/scorer", FIXTURES / "dp-plain-clip/clip")
    )
    assert ours.keys() == wanted.keys()
    for key, array in wanted.items():
        np.testing.assert_array_equal(ours[key], array)
    assert (tmp_path / "out/scorer/bpe.json").exists()
    assert bundles.resolve(tmp_path / "out").scorer == tmp_path / "out/scorer"


def test_the_codec_of_mindalle_is_stage_1(published, tmp_path):
    """Stage 1 of the fixture is the VQGAN of dp-taming; config.yaml says its sizes."""
    source = published("mindalle")
    shutil.copy(FIXTURES / "dp-taming/vqgan.model.ckpt", source / "stage1_last.ckpt")
    convert(source, tmp_path / "out")
    convert(FIXTURES / "dp-taming/vqgan.model.ckpt", tmp_path / "taming")
    assert codecs.read_config(tmp_path / "out/codec") == codecs.read_config(tmp_path / "taming/codec")
    assert bundles.resolve(tmp_path / "out").licence == "CC-BY-NC-SA-4.0"
    assert not any(name.startswith("loss") for name in load_file(tmp_path / "out/codec/model.safetensors"))


def test_a_codec_that_lies_elsewhere_is_found_where_one_says(published, tmp_path):
    source = published("rudalle")
    elsewhere = tmp_path / "utils"
    elsewhere.mkdir()
    for name in ("vqgan.model.ckpt", "vqgan.config.yml", "bpe.model"):
        (source / name).rename(elsewhere / name)
    with pytest.raises(CorruptCheckpoint, match=r"bpe\.model must lie beside .*found: nothing"):
        convert(source, tmp_path / "without")
    assert convert(source, tmp_path / "out", elsewhere).keys() == {"sampler", "codec"}
    (elsewhere / "vqgan.model.ckpt").unlink()
    assert convert(source, tmp_path / "sampler alone", elsewhere).keys() == {"sampler"}
    assert not (tmp_path / "sampler alone/model.json").exists()


def test_a_vqgan_without_its_yaml_is_told_by_its_shapes(tmp_path):
    """For pictures of 256, as all published ones are; this one's are smaller."""
    convert(FIXTURES / "dp-taming" / "vqgan.model.ckpt", tmp_path / "said")
    (tmp_path / "alone").mkdir()
    shutil.copy(FIXTURES / "dp-taming" / "vqgan.model.ckpt", tmp_path / "alone")
    convert(tmp_path / "alone", tmp_path / "told")
    said, told = (codecs.read_config(tmp_path / folder / "codec") for folder in ("said", "told"))
    sides = tuple(256 // said.resolution * side for side in said.attn_resolutions)
    assert told == replace(said, resolution=256, attn_resolutions=sides)
    shutil.copy(FIXTURES / "rudalle" / "vqgan.model.ckpt", tmp_path / "alone")  # without a block that tells its levels
    with pytest.raises(CorruptCheckpoint, match="needs its configuration beside it"):
        convert(tmp_path / "alone", tmp_path / "again")


def test_openai_s_dvae_is_told_by_its_shapes(tmp_path):
    convert(FIXTURES / "openai-dvae", tmp_path / "out")
    arrays, expected = (
        load_file(path / "model.safetensors") for path in (tmp_path / "out/codec", FIXTURES / "openai-dvae")
    )
    assert arrays.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(arrays[key], array)
    wanted = json.loads((FIXTURES / "openai-dvae/config.json").read_text())
    config = json.loads((tmp_path / "out/codec/config.json").read_text())
    assert {key: config[key] for key in ("encoder", "decoder")} == {key: wanted[key] for key in ("encoder", "decoder")}
    assert config["resolution"] == 256


def test_sber_s_wavelet_decoder_is_told_by_its_names(published, tmp_path):
    """There is no such fixture: one is made of the Gumbel VQGAN, with a last layer for four bands."""
    source = published("rudalle")
    state = load_file(converted_codec(source, tmp_path))
    state = {name: array for name, array in state.items() if not name.startswith(("decoder.", "post_quant"))} | {
        f"decoder.{'' if name.startswith('post') else 'decoder.'}{name.removeprefix('decoder.')}": array
        for name, array in state.items()
        if name.startswith(("decoder.", "post_quant"))
    }
    rng = np.random.default_rng(0)
    state["decoder.decoder.conv_out.weight"] = rng.normal(
        size=(12, *state["decoder.decoder.conv_out.weight"].shape[1:])
    )
    state["decoder.decoder.conv_out.bias"] = rng.normal(size=12)
    state["decoder.idwt.g0_col"] = np.ones((1, 1, 2, 1))
    state["post_quant_conv.weight"] = np.zeros((8, 8, 1, 1))  # left over in the published file
    state = {f"model.{name}": np.asarray(array, np.float32) for name, array in state.items()}
    values = write.dictionary({name: write.array(name, array) for name, array in state.items()})
    (source / "vqgan.model.ckpt").write_bytes(write.zip_file(values, state))
    convert(source, tmp_path / "out")
    codec, config, params = codecs.load(tmp_path / "out/codec")
    assert (config.size, config.grid.rows, config.lookup) == ((32, 32), 8, "gumbel")
    assert codec is vqgan
    pixels = np.asarray(codec.decode(config, params, np.zeros((1, 64), np.int32)))
    assert pixels.shape == (1, 32, 32, 3)
    assert np.asarray(codec.encode(config, params, pixels)).shape == (1, 64)


def test_llamagen_comes_with_its_t5_and_its_codec(tmp_path):
    kept = shutil.ignore_patterns("goldens.npz", "vq")
    source = Path(shutil.copytree(FIXTURES / "llamagen-tiny", tmp_path / "published", ignore=kept))
    vq = load_file(FIXTURES / "llamagen-tiny/vq/model.safetensors")
    value = write.dictionary(
        {"model": write.dictionary({name: write.array(name, array) for name, array in vq.items()})}
    )
    (source / "vq_ds16_t2i.pt").write_bytes(write.zip_file(value, vq))
    convert(source, tmp_path / "out")
    for role, place in (("sampler", "gpt"), ("codec", "vq"), ("text", "t5-ckpt/flan-t5-xl")):
        arrays, expected = (
            load_file(path / "model.safetensors")
            for path in (tmp_path / "out" / role, FIXTURES / "llamagen-tiny" / place)
        )
        if role == "text":  # the encoder alone
            expected = {name: array for name, array in expected.items() if name.startswith(("encoder.", "shared."))}
        assert arrays.keys() == expected.keys()
        for key, array in expected.items():
            np.testing.assert_array_equal(arrays[key], array)
    wanted, config = (
        json.loads(path.read_text()) for path in (source / "gpt/config.json", tmp_path / "out/sampler/config.json")
    )
    assert config == wanted | {"multiple_of": 128}  # 16 gives the same width
    assert (codecs.read_config(tmp_path / "out/codec").size, codecs.read_config(tmp_path / "out/codec").ch) == (
        (12, 12),
        32,
    )
    card = json.loads((tmp_path / "out/model.json").read_text())
    assert card["parts"] == {role: role for role in ("sampler", "text", "codec")}
    assert card["sampling"] == {"guidance_scale": 7.5, "temperature": 1.0, "top_k": 1000, "top_p": 1.0}
    (source / "gpt/config.json").unlink()
    with pytest.raises(UnsupportedConfig, match="n_head beside it"):
        convert(source, tmp_path / "again")


def test_openai_s_dvae_inside_a_dalle_pt_is_its_codec(published, tmp_path):
    dvae = load_file(FIXTURES / "openai-dvae/model.safetensors")
    head = np.ones((40, 2), np.float32)
    arrays = {
        name.replace("encoder.", "vae.enc.").replace("decoder.", "vae.dec."): array for name, array in dvae.items()
    }
    weights = write.dictionary(
        {name: write.array(name, array) for name, array in (arrays | {"to_logits.1.weight": head}).items()}
    )
    hparams = write.dictionary({"num_text_tokens": write.number(20), "text_seq_len": write.number(4)})
    value = {
        "hparams": hparams,
        "vae_params": b"N",
        "vae_class_name": write.text("OpenAIDiscreteVAE"),
        "weights": weights,
    }
    source = published("dp-rotary")
    (source / "dalle.pt").write_bytes(write.zip_file(write.dictionary(value), arrays | {"to_logits.1.weight": head}))
    shelf = Shelf(source, [])
    assert shelf.main is not None
    parts = dalle_pytorch.convert(shelf, shelf.main.file).parts
    parts["codec"].write(tmp_path / "codec", None)
    ours = load_file(tmp_path / "codec/model.safetensors")
    assert ours.keys() == dvae.keys()
    for key in dvae:
        np.testing.assert_array_equal(ours[key], dvae[key])
    assert parts["sampler"].arrays.keys() == {"to_logits.1.weight"}


def converted_codec(source: Path, tmp_path: Path) -> Path:
    convert(source, tmp_path / "before")
    return tmp_path / "before/codec/model.safetensors"


def test_numbers_are_converted_where_one_says(published, tmp_path):
    convert(published("rudalle"), tmp_path / "out", dtype="bfloat16")
    index = (tmp_path / "out/sampler/model.safetensors").read_bytes()
    assert b'"F16"' not in index
    assert b'"BF16"' in index
    assert b'"BOOL"' in index  # the masks


def test_heads_that_no_shape_tells_are_asked_for(published, tmp_path):
    source = published("rudalle")
    (source / "config.json").unlink()
    with pytest.raises(UnsupportedConfig, match=r"6 layers of width 24.*num_attention_heads"):
        convert(source, tmp_path / "out")
    assert _RUDALLE_HEADS[24, 2048] == 16


@pytest.mark.parametrize(
    ("name", "remove", "message"),
    [
        ("dp-rotary", "bpe_simple_vocab.txt", "tokenizer .* must lie beside .*found: nothing"),
        ("dp-taming", "vqgan.model.ckpt", "trained with a VQGAN, whose checkpoint and configuration"),
        ("dp-taming", "vqgan.config.yml", "needs its configuration beside it, the YAML file .*found: none"),
        ("mindalle", "config.yaml", r"config\.yaml must lie beside"),
        ("mindalle", "tokenizer/bpe-16k-vocab.json", r"tokenizer's \*vocab\.json must lie beside"),
        ("openai-dvae", "encoder.pkl", "two files, encoder.pkl and decoder.pkl"),
    ],
)
def test_what_is_missing_is_named(published, tmp_path, name, remove, message):
    source = published(name)
    (source / remove).unlink()
    with pytest.raises(CorruptCheckpoint, match=message):
        convert(source, tmp_path / "out")


def test_two_of_a_kind_are_not_guessed_between(published, tmp_path):
    source = published("dp-taming")
    shutil.copy(FIXTURES / "rudalle/vqgan.model.ckpt", source / "other.ckpt")
    with pytest.raises(CorruptCheckpoint, match="more than one VQGAN"):
        convert(source, tmp_path / "out")
    (source / "other.ckpt").unlink()
    shutil.copy(FIXTURES / "dp-rotary/dalle.pt", source / "dalle_2.pt")
    with pytest.raises(CorruptCheckpoint, match=r"more than one sampler: dalle\.pt, dalle_2\.pt"):
        convert(source, tmp_path / "out")
    assert convert(source / "dalle.pt", tmp_path / "out").keys() == {"sampler", "codec"}


def dalle_pt(**changes: bytes) -> bytes:
    entries = {"hparams": write.dictionary({"dim": write.number(8)}), "weights": b"}"} | changes
    return write.zip_file(write.dictionary(entries), {})


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (dalle_pt(weights=write.text("To get a working standard checkpoint, run …")), UnsupportedConfig, "DeepSpeed"),
        (dalle_pt(vae_class_name=write.text("MyVAE"), weights=write.dictionary({"to_logits.1.weight": b"N"})),
         UnsupportedConfig, "vae_class_name is 'MyVAE'; supported: DiscreteVAE, OpenAIDiscreteVAE, VQGanVAE"),
        (dalle_pt(), CorruptCheckpoint, "none of the published files that can be converted"),
        (write.zip_file(b"}", {}), CorruptCheckpoint, "none of the published files that can be converted"),
        (write.zip_file(write.OS_SYSTEM, {}), CorruptCheckpoint, "call or class os.system, which no checkpoint needs"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused_in_words(tmp_path, content, error, message):
    (tmp_path / "dalle.pt").write_bytes(content)
    with pytest.raises(error, match=message):
        convert(tmp_path / "dalle.pt", tmp_path / "out")


def test_settings_that_grow_when_they_are_written_are_refused(tmp_path):
    bomb = b"]q\x00" + b"".join(b"](h%ch%ce" % (i, i) + b"q" + bytes([i + 1]) for i in range(60))
    hparams = b"}(" + write.text("a") + b"(" + bomb + b"lu"
    weights = write.dictionary({"to_logits.1.weight": write.array("0", np.ones(1, np.float32))})
    content = write.zip_file(write.dictionary({"hparams": hparams, "weights": weights}), {"0": np.ones(1, np.float32)})
    (tmp_path / "dalle.pt").write_bytes(content)
    with pytest.raises(CorruptCheckpoint, match=r"more than any configuration|nested more deeply"):
        convert(tmp_path / "dalle.pt", tmp_path / "out")


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelNotFound, match="no file or folder"):
        convert(tmp_path / "nowhere.pt", tmp_path / "out")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="none of the published files"):
        convert(tmp_path / "folder", tmp_path / "out")
