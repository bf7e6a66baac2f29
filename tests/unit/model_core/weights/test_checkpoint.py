"""Loading and saving: exact, strict, within memory, and clear about what is wrong."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import serialization, traverse_util
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.flax import save_file

from model_core import bundles, codecs, families, scorers
from model_core.errors import CheckpointError, CheckpointMismatch, CorruptCheckpoint, InvalidValue, ModelNotFound
from model_core.families.dalle_bart import step as decoding
from model_core.weights import checkpoint, weight_files
from model_core.weights.weight_files import FLOAT_DTYPES

FIXTURES = Path(__file__).parents[3] / "parity" / "fixtures"


def make_tree(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "head": {"kernel": rng.normal(size=(3, 5)).astype(np.float32)},
        "body": {"norm": {"scale": rng.normal(size=7).astype(np.float32)}, "empty": {}},
        "logit_scale": np.float32(2.5) * np.ones((), np.float32),
    }


def shapes_of(tree: dict) -> dict:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, np.float32), tree)


def assert_equal(loaded: dict, tree: dict) -> None:
    flat, wanted = traverse_util.flatten_dict(loaded), traverse_util.flatten_dict(tree)
    assert flat.keys() == wanted.keys()
    for name, leaf in flat.items():
        assert isinstance(leaf, jax.Array)
        np.testing.assert_array_equal(np.asarray(leaf, np.float32), np.asarray(wanted[name], np.float32))


@pytest.mark.parametrize("in_file", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("asked", ["float32", "float16", "bfloat16"])
def test_load_gives_what_was_saved_in_the_dtype_asked_for(tmp_path, in_file, asked):
    tree = make_tree()
    checkpoint.save_params(tmp_path / "w", tree, in_file)
    loaded = checkpoint.load_params(tmp_path / "w", shapes_of(tree), asked)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.dtype(asked)}
    assert_equal(loaded, jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(in_file)).astype(jnp.dtype(asked)), tree))


BITS = {  # of a number that is not finite, in each dtype
    "NaN": {"float32": 0x7FC00000, "float16": 0x7E00, "bfloat16": 0x7FC0},
    "another NaN": {"float32": 0xFF800001, "float16": 0xFC01, "bfloat16": 0xFF81},
    "infinity": {"float32": 0x7F800000, "float16": 0x7C00, "bfloat16": 0x7F80},
    "minus infinity": {"float32": 0xFF800000, "float16": 0xFC00, "bfloat16": 0xFF80},
}


@pytest.mark.parametrize("kind", BITS)
@pytest.mark.parametrize("in_file", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("asked", ["float32", "float16", "bfloat16"])
def test_a_weight_that_is_not_finite_is_refused_by_file_and_array(tmp_path, kind, in_file, asked):
    tree = make_tree()
    whole = jax.tree.map(lambda leaf: leaf.astype(FLOAT_DTYPES[in_file]), tree)
    integers = np.uint32 if in_file == "float32" else np.uint16
    whole["body"]["norm"]["scale"].view(integers)[5] = BITS[kind][in_file]
    (tmp_path / "w").write_bytes(serialization.to_bytes(whole))
    flat = {"/".join(path): leaf for path, leaf in traverse_util.flatten_dict(whole).items()}
    save_file(flat, tmp_path / "w.safetensors")
    for name in ("w", "w.safetensors"):
        with pytest.raises(CorruptCheckpoint, match=rf"{tmp_path / name} .*body/norm/scale.*NaN or infinite"):
            checkpoint.load_params(tmp_path / name, shapes_of(tree), asked)
        wanted = checkpoint.load_params(
            tmp_path / name, shapes_of(tree), asked, is_wanted=lambda array: "scale" not in array
        )
        assert np.isfinite(np.asarray(wanted["head"]["kernel"], np.float32)).all()


@pytest.mark.parametrize("place", [0, 2**20 - 1, 2**20, 3 * 2**20 - 1])
def test_no_place_in_a_large_array_is_overlooked(tmp_path, monkeypatch, place):
    monkeypatch.setattr(weight_files, "_READ_BYTES", 4 * 2**20)  # so many elements of the file are read at once
    values = np.ones(3 * 2**20, np.float32)
    values[place] = np.nan
    checkpoint.save_params(tmp_path / "w", {"a": values})
    for asked in ("float32", "bfloat16"):
        with pytest.raises(CorruptCheckpoint, match="w holds a value in a that"):
            checkpoint.load_params(tmp_path / "w", shapes_of({"a": values}), asked)


def test_the_largest_and_smallest_numbers_are_taken(tmp_path):
    for dtype, kind in FLOAT_DTYPES.items():
        info = ml_dtypes.finfo(kind)
        tree = {"a": np.array([info.max, info.min, info.smallest_subnormal, 0, -0.0]).astype(kind)}
        checkpoint.save_params(tmp_path / "w", tree, dtype)
        assert_equal(checkpoint.load_params(tmp_path / "w", shapes_of(tree), dtype), tree)


def test_saved_file_is_byte_for_byte_what_flax_writes(tmp_path):
    params = jax.tree.map(jnp.asarray, make_tree())
    checkpoint.save_params(tmp_path / "w", params)
    assert (tmp_path / "w").read_bytes() == serialization.to_bytes(params)


def test_arrays_that_flax_split_into_chunks_are_joined(tmp_path, monkeypatch):
    tree = make_tree()
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 16)
    raw = serialization.to_bytes(tree)
    assert b"__msgpack_chunked_array__" in raw
    (tmp_path / "w").write_bytes(raw)
    assert_equal(checkpoint.load_params(tmp_path / "w", shapes_of(tree)), tree)


def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path):
    tree = make_tree()
    checkpoint.save_params(tmp_path / "w", tree)
    before = (tmp_path / "w").read_bytes()
    with pytest.raises(InvalidValue, match="float16"):
        checkpoint.save_params(tmp_path / "w", tree | {"big": np.full(3, 1e6, np.float32)}, "float16")
    assert (tmp_path / "w").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_params_outlive_the_file(tmp_path):
    tree = make_tree()
    checkpoint.save_params(tmp_path / "w", tree)
    loaded = checkpoint.load_params(tmp_path / "w", shapes_of(tree))
    with (tmp_path / "w").open("r+b") as file:
        file.write(bytes((tmp_path / "w").stat().st_size))
    assert_equal(loaded, tree)


def test_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(InvalidValue, match="float32, float16, bfloat16; got 'int8'") as caught:
        checkpoint.load_params(tmp_path / "w", {}, "int8")
    assert caught.value.param == "dtype"


def test_value_beyond_float16_is_refused_by_name(tmp_path):
    tree = make_tree() | {"big": np.full(3, 1e6, np.float32)}
    checkpoint.save_params(tmp_path / "w", tree)
    with pytest.raises(InvalidValue, match=r"big .*float16"):
        checkpoint.load_params(tmp_path / "w", shapes_of(tree), "float16")
    assert_equal(checkpoint.load_params(tmp_path / "w", shapes_of(tree)), tree)


def test_mismatch_names_every_key(tmp_path):
    tree = make_tree()
    expected = shapes_of(tree)
    stored = make_tree()
    del stored["head"]
    stored["body"]["norm"]["scale"] = np.zeros(8, np.float32)
    stored["body"]["norm"]["bias"] = np.zeros(7, np.float32)
    stored["logit_scale"] = np.ones((), np.int32)
    (tmp_path / "w").write_bytes(serialization.to_bytes(stored))
    with pytest.raises(CheckpointMismatch) as caught:
        checkpoint.load_params(tmp_path / "w", expected)
    message = str(caught.value)
    assert "1 missing, 1 unexpected, 1 misshapen, 1 not float" in message
    assert "missing head/kernel (3, 5)" in message
    assert "unexpected body/norm/bias (7,)" in message
    assert "misshapen body/norm/scale: (8,) in the file, (7,) in the model" in message
    assert "not float logit_scale: int32" in message


def test_long_mismatch_is_cut_with_a_count(tmp_path):
    checkpoint.save_params(tmp_path / "w", {"a": np.zeros(1, np.float32)})
    expected = {f"leaf_{i}": jax.ShapeDtypeStruct((1,), np.float32) for i in range(49)}
    with pytest.raises(CheckpointMismatch, match="49 missing, 1 unexpected") as caught:
        checkpoint.load_params(tmp_path / "w", expected)
    assert "and 30 more" in str(caught.value)


def test_outer_wrapper_is_a_mismatch(tmp_path):
    tree = make_tree()
    checkpoint.save_params(tmp_path / "w", {"params": tree})
    with pytest.raises(CheckpointMismatch, match="unexpected params/head/kernel"):
        checkpoint.load_params(tmp_path / "w", shapes_of(tree))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"\n<html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.", "pickle"),
        (b"PK\x03\x04\x00\x00", "pickle"),
        (b"hello there", "does not begin with a map"),
        (b"\x80", "no arrays"),
        (b"\x81\xa1a\xc0", "0xc0"),
        (b"\x81\xa1a\x93\x01\x02\x03", "array at a where"),
        (b"\x82\xa1a\x80\xa1a\x80", "a twice"),
        (b"\x81\xa1\xff\x80", "not UTF-8"),
        (b"\x81\x01\x80", "int where str or bin"),
        (b"\x81\xa1a\xd4\x05\x00", "extension of type 5"),
        (b"\x81\xa1a" * 100 + b"\x80", "too deeply"),
        (b"\x81\xa1a\xc7\x0c\x01\x93\x91\x03\xa7float32\xc4\x00", "do not fit shape"),
    ],
)
def test_what_is_no_checkpoint_is_called_so(tmp_path, content, message):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(CorruptCheckpoint, match=message):
        checkpoint.load_params(tmp_path / "w", shapes_of(make_tree()))


def test_every_cut_and_every_tail_is_noticed(tmp_path):
    whole = serialization.to_bytes(make_tree())
    for length in range(len(whole)):
        (tmp_path / "w").write_bytes(whole[:length])
        with pytest.raises(CorruptCheckpoint):
            checkpoint.load_params(tmp_path / "w", shapes_of(make_tree()))
    (tmp_path / "w").write_bytes(whole + b"\x00")
    with pytest.raises(CorruptCheckpoint, match="1 bytes after the end"):
        checkpoint.load_params(tmp_path / "w", shapes_of(make_tree()))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(place=st.integers(0, 10_000), junk=st.binary(min_size=1, max_size=8))
def test_damage_never_raises_anything_but_our_errors(tmp_path_factory, place, junk):
    whole = bytearray(serialization.to_bytes(make_tree()))
    place %= len(whole)
    whole[place : place + len(junk)] = junk
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(whole)
    try:
        loaded = checkpoint.load_params(path, shapes_of(make_tree()))
    except CheckpointError:
        return
    assert jax.tree.map(jnp.shape, loaded) == jax.tree.map(
        np.shape, make_tree() | {"body": {"norm": make_tree()["body"]["norm"]}}
    )


def dalle_names(params: dict) -> dict:
    return traverse_util.flatten_dict(params, sep="/")


def unroll(params: dict) -> dict:
    flat = {}
    for name, leaf in dalle_names(params).items():
        if "coderLayers/" in name:
            flat |= {re.sub("coderLayers/", f"coderLayer_{i}/", name): leaf[i] for i in range(leaf.shape[0])}
        else:
            flat[name] = leaf
    return traverse_util.unflatten_dict(flat, sep="/")


def test_unrolled_file_gives_the_same_params_as_the_stacked_one(tmp_path):
    shutil.copy(FIXTURES / "dalle-tiny" / "config.json", tmp_path)
    _, config, stacked = families.load(FIXTURES / "dalle-tiny")
    checkpoint.save_params(tmp_path / "flax_model.msgpack", unroll(stacked))
    _, config_again, loaded = families.load(tmp_path)
    assert config_again == config
    assert_equal(loaded, stacked)


def test_unrolled_file_without_a_layer_names_its_keys(tmp_path):
    shutil.copy(FIXTURES / "dalle-tiny" / "config.json", tmp_path)
    *_, stacked = families.load(FIXTURES / "dalle-tiny")
    unrolled = unroll(stacked)
    del unrolled["model"]["decoder"]["layers"]["FlaxBartDecoderLayer_1"]["LayerNorm_0"]
    checkpoint.save_params(tmp_path / "flax_model.msgpack", unrolled)
    with pytest.raises(CheckpointMismatch, match=r"1 missing, 0 unexp.*[\s\S]*FlaxBartDecoderLayer_1/LayerNorm_0/bias"):
        families.load(tmp_path)


@pytest.mark.parametrize("name", ["dalle-tiny", "dalle-tiny-fp16", "vqgan-tiny", "clip-tiny", "clip-tiny-torch"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_fixtures_load_in_every_dtype(name, dtype):
    package = {"dalle": families, "vqgan": codecs, "clip": scorers}[name.split("-")[0]]
    *_, params = package.load(FIXTURES / name, dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}


def test_half_of_a_model_is_what_the_whole_has_there():
    *_, whole = families.load(FIXTURES / "dalle-tiny")
    *_, encoder = families.load(FIXTURES / "dalle-tiny", role="text")
    *_, decoder = families.load(FIXTURES / "dalle-tiny", role="sampler")
    assert_equal(encoder, {"model": {"encoder": whole["model"]["encoder"]}})
    assert_equal(decoder, {"model": {"decoder": whole["model"]["decoder"]}, "lm_head": whole["lm_head"]})


def test_layers_cut_while_they_load_are_those_cut_afterwards():
    *_, stacked = families.load(FIXTURES / "dalle-tiny", role="sampler")
    *_, cut = families.load(FIXTURES / "dalle-tiny", role="sampler", place=decoding.cutting())
    jax.tree.map(np.testing.assert_array_equal, decoding.step_weights(cut), decoding.step_weights(stacked))


def test_flax_files_load_as_flax_reads_them():
    *_, params = codecs.load(FIXTURES / "vqgan-tiny")
    assert_equal(params, serialization.msgpack_restore((FIXTURES / "vqgan-tiny" / "flax_model.msgpack").read_bytes()))


def test_folder_problems_are_told_apart(tmp_path):
    with pytest.raises(ModelNotFound, match="no folder"):
        codecs.load(tmp_path / "nowhere")
    with pytest.raises(CorruptCheckpoint, match=r"no config\.json"):
        codecs.load(tmp_path)
    for content, message in [(b"{", "not JSON"), (b"[1]", "JSON list"), (b'{"a": "\xff"}', "not UTF-8")]:
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(CorruptCheckpoint, match=message):
            codecs.load(tmp_path)
    shutil.copy(FIXTURES / "vqgan-tiny" / "config.json", tmp_path)
    with pytest.raises(
        CorruptCheckpoint, match=r"no flax_model\.msgpack or model\.safetensors or .* \(found: config\.json\)"
    ):
        codecs.load(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "dalle.pt", "last.ckpt", "encoder.pkl"])
def test_a_folder_of_pickles_alone_is_refused_with_the_command_that_converts_it(tmp_path, name):
    (tmp_path / name).touch()
    command = rf"\({name}\), pickles, which are never read here.* dalle-serve convert {tmp_path} NEW_FOLDER"
    for load in (codecs.load, families.load, scorers.load, bundles.resolve):
        with pytest.raises(CorruptCheckpoint, match=command):
            load(tmp_path)
    shutil.copy(FIXTURES / "vqgan-tiny" / "config.json", tmp_path)
    with pytest.raises(CorruptCheckpoint, match=command):
        codecs.load(tmp_path)


def test_config_that_does_not_fit_the_weights_is_a_mismatch(tmp_path):
    shutil.copytree(FIXTURES / "vqgan-tiny", tmp_path, dirs_exist_ok=True)
    raw = json.loads((tmp_path / "config.json").read_text()) | {"n_embed": 65}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointMismatch, match=r"\(64, 16\) in the file, \(65, 16\) in the model"):
        codecs.load(tmp_path)


MEASURE = textwrap.dedent("""
    import re, sys
    from pathlib import Path
    import jax, numpy as np
    from model_core.weights import checkpoint
    from model_core.families.dalle_bart.layout import layout

    def memory(field):  # bytes
        return int(re.search(field + r":\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

    path, kept = sys.argv[1], []
    expected = {"embedding": jax.ShapeDtypeStruct((2500, 1024), np.float32)}
    layer = {f"kernel_{i}": jax.ShapeDtypeStruct((5, 512, 1024), np.float32) for i in range(5)}
    expected["layers"] = {"FlaxBartDecoderLayers": layer}
    jax.device_put(np.zeros(8)).block_until_ready()
    for dtype in ("float16", "float32"):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is in use now
        before = memory("VmRSS")
        kept.append(checkpoint.load_params(path, expected, dtype, layout=layout))
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(kept[-1]))
        print(dtype, size, memory("VmHWM") - before)
""")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_peak_memory_is_close_to_the_params(tmp_path):
    """A 63 MB file of unrolled layers: at most 1.3 times the params and 16 MB for buffers and the allocator."""
    rng = np.random.default_rng(0)
    layer = {f"kernel_{i}": rng.random((512, 1024), np.float32) for i in range(5)}
    layers = {f"FlaxBartDecoderLayer_{i}": layer for i in range(5)}
    checkpoint.save_params(tmp_path / "w", {"embedding": rng.random((2500, 1024), np.float32), "layers": layers})
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "w")], capture_output=True, text=True, check=True, timeout=120
    )
    for line in result.stdout.splitlines():
        dtype, size, grown = line.split()
        assert int(grown) <= 1.3 * int(size) + 16 * 2**20, (dtype, size, grown)
        assert int(grown) >= 0.5 * int(size), "the measurement is broken: params take memory"
    assert len(result.stdout.splitlines()) == 2
