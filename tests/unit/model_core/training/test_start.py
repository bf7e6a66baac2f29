"""A run that starts from a model: what is copied, which sizes it has, what is refused."""

from pathlib import Path

import pytest

from model_core import bundles
from model_core.errors import InvalidValue, ModelNotFound, UnsupportedConfig
from model_core.training.data import Dataset, Item, write_index
from model_core.training.presets import EMOJI, SMOKE
from model_core.training.run import TrainingRun
from model_core.training.start import start_from, start_of, with_sizes_of


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    start_from("emoji", folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_of_the_model_are_copied_twice_and_its_card_once(run: Path):
    shipped = contents(bundles.resolve("emoji").codec.parent)
    parts = {name: content for name, content in shipped.items() if "/" in name}
    assert len(parts) > 10
    assert contents(run / "model") == parts
    copied = contents(run / "start")
    assert copied.pop("model.json")
    assert copied == parts


def test_the_start_is_drawn_from_as_the_model_was(run: Path):
    start, shipped = start_of(run), bundles.resolve("emoji")
    assert start is not None
    assert (start.id, start.sampling, start.size) == (shipped.id, shipped.sampling, shipped.size)


def test_the_sizes_are_the_models_and_the_recipes_the_presets(run: Path):
    start = start_of(run)
    assert start is not None
    preset = with_sizes_of(start, SMOKE)
    assert (preset.dalle_bart, preset.vqgan, preset.clip) == (EMOJI.dalle_bart, EMOJI.vqgan, EMOJI.clip)
    assert preset.dalle_bart_recipe == SMOKE.dalle_bart_recipe


def test_a_run_without_a_start_has_none(tmp_path: Path):
    assert start_of(tmp_path) is None


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InvalidValue, match="is not empty"):
        start_from("emoji", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_unknown_model_leaves_no_folder(tmp_path: Path):
    with pytest.raises(ModelNotFound):
        start_from("nothing", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("role", ["sampler", "codec"])
def test_a_fresh_part_begins_without_weights_and_the_other_with_them(role: str, tmp_path: Path):
    start_from("emoji", tmp_path / "run", fresh=role == "sampler", fresh_codec=role == "codec")
    data = tmp_path / "data"
    data.mkdir()
    write_index(data, [Item(image="", prompts=(("night", 1.0),), concept="night")])
    training = TrainingRun(tmp_path / "run", Dataset.open(data), SMOKE)
    assert [each for each in ("sampler", "codec") if training._start_params(each) is None] == [role]


def test_a_fresh_codec_of_a_kind_that_is_not_trained_is_refused_and_leaves_no_folder(fixtures: Path, tmp_path: Path):
    with pytest.raises(UnsupportedConfig, match="VQGAN with lookup nearest_direction"):
        start_from(str(fixtures / "janus-tiny"), tmp_path / "run", fresh_codec=True)
    assert not (tmp_path / "run").exists()
