import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from deployments.cli import main as cli
from model_core import codecs
from model_core.weights.flax_msgpack import index_msgpack
from tests import torch_pickles

FIXTURES = Path(__file__).parents[3] / "parity" / "fixtures"
PARTS = {"dalle_bart": "dalle-tiny-unscanned", "vqgan": "vqgan-tiny", "clip": "clip-tiny-torch"}

pytestmark = pytest.mark.usefixtures("given_back_environment")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in layouts that others write: unrolled layers, and CLIP as PyTorch has it."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    for part, fixture in PARTS.items():
        shutil.copytree(FIXTURES / fixture, folder / part, ignore=shutil.ignore_patterns("goldens*"))
    sampling = {"guidance_scale": 10.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    card = {"id": "tiny", "licence": "CC0-1.0", "size": 32, "sampling": sampling, "description": "random weights"}
    (folder / "model.json").write_text(json.dumps(card))
    return folder


def convert(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["convert", *map(str, arguments)])


def test_every_part_is_written_in_one_layout_and_dtype(model: Path, tmp_path: Path):
    result = convert(model, tmp_path / "half")
    assert result.exit_code == 0, result.stderr
    for part in PARTS:
        index = index_msgpack(tmp_path / "half" / part / "flax_model.msgpack")
        assert {piece.dtype for stored in index.values() for piece in stored.parts} == {"float16"}
        assert not any("Layer_0" in name for name in index)  # stacked
    assert not list((tmp_path / "half").rglob("*.safetensors"))
    assert (tmp_path / "half" / "model.json").read_bytes() == (model / "model.json").read_bytes()
    *_, params = codecs.load(tmp_path / "half" / "vqgan")
    *_, before = codecs.load(model / "vqgan")
    name = "quantize"
    for new, old in zip(_leaves(params[name]), _leaves(before[name]), strict=True):
        np.testing.assert_array_equal(new, old.astype(np.float16).astype(np.float32))


def _leaves(tree: object) -> list[np.ndarray]:
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in _leaves(value)]
    return [np.asarray(tree)]


def test_what_cannot_be_done_leaves_nothing_behind(model: Path, tmp_path: Path):
    (tmp_path / "there").mkdir()
    for arguments, words in [
        ((model, tmp_path / "there"), "exists already"),
        ((model, tmp_path / "new", "--dtype", "int8"), "float16"),
        ((tmp_path, tmp_path / "new"), "not a model's folder"),
    ]:
        result = convert(*arguments)
        assert result.exit_code == 1
        assert words in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("name", ["janus-tiny", "llamagen-tiny", "dp-plain-clip"])
def test_a_model_that_is_read_as_it_is_is_not_rewritten(name: str, tmp_path: Path):
    """Of a Janus one folder is sampler and codec: one part's file would lie over the other's."""
    source = tmp_path / name
    if name == "dp-plain-clip":  # made of PyTorch files, and then given again
        assert convert(FIXTURES / name, source).exit_code == 0
    else:
        shutil.copytree(FIXTURES / name, source, ignore=shutil.ignore_patterns("*.npz", "*.pt"))
    if name == "llamagen-tiny":
        parts = {"sampler": "gpt", "codec": "vq", "text": "t5-ckpt/flan-t5-xl"}
        sampling = {"guidance_scale": 7.5, "temperature": 1.0, "top_k": 1000, "top_p": 1.0}
        card = {"id": "x", "licence": "MIT", "size": 12, "sampling": sampling, "description": "x", "parts": parts}
        (source / "model.json").write_text(json.dumps(card))
    result = convert(source, tmp_path / "new")
    assert result.exit_code == 1
    assert "needs no conversion: its sampler is read as it is" in result.stderr.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_published_pytorch_files_become_a_model_s_folder(tmp_path: Path):
    result = convert(FIXTURES / "dp-plain-clip", tmp_path / "converted")
    assert result.exit_code == 0, result.stderr
    named = [word for word in result.stdout.split() if word.endswith(":")]
    assert named == [f"{tmp_path / 'converted' / role}:" for role in ("sampler", "codec", "scorer")]
    card = json.loads((tmp_path / "converted" / "model.json").read_text())
    assert (card["id"], card["size"], card["parts"]["scorer"]) == ("converted", 32, "scorer")
    _, config, _ = codecs.load(tmp_path / "converted" / "codec")
    assert config.size == (32, 32)
    again = convert(FIXTURES / "openai-dvae" / "decoder.pkl", tmp_path / "codec", "--also", FIXTURES / "openai-dvae")
    assert again.exit_code == 0, again.stderr
    assert [path.name for path in (tmp_path / "codec").iterdir()] == ["codec"]


def test_published_files_that_cannot_be_converted_leave_nothing_behind(tmp_path: Path):
    (tmp_path / "a.pt").write_bytes(torch_pickles.zip_file(torch_pickles.OS_SYSTEM, {}))
    result = convert(tmp_path / "a.pt", tmp_path / "new")
    assert result.exit_code == 1
    assert "os.system, which no checkpoint needs" in result.stderr.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
