"""Artifacts, from a fake of the package that fetches them: one file, whose text must be "whole"."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model_core import bundles
from model_core.errors import ModelNotFound
from model_core.weights import wandb_artifacts

REFERENCE = "someone/dalle/model-1:v3"


class FakeArtifact:
    """Writes what it is told to; files that are whole already are left alone, as wandb does."""

    text = "whole"
    num_written = 0

    def download(self, root: str) -> None:
        file = Path(root) / "config.json"
        if not file.exists() or file.read_text() != "whole":
            file.write_text(self.text)
            type(self).num_written += 1

    def verify(self, root: str) -> None:
        if (Path(root) / "config.json").read_text() != "whole":
            raise ValueError("digest mismatch")


@pytest.fixture
def artifact(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeArtifact]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kind = type("Artifact", (FakeArtifact,), {})
    api = SimpleNamespace(artifact=lambda reference: kind() if reference == REFERENCE else _absent(reference))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Api=lambda: api, errors=SimpleNamespace(Error=KeyError)))
    return kind


def _absent(reference: str) -> Any:
    raise KeyError(f"no {reference}")


def test_an_artifact_is_fetched_once_and_only_when_asked(artifact: type[FakeArtifact]):
    with pytest.raises(ModelNotFound, match=f"models download {REFERENCE}"):
        wandb_artifacts.locate(REFERENCE, download=False)
    folder = bundles.fetch(REFERENCE)
    assert (folder / "config.json").read_text() == "whole"
    assert wandb_artifacts.locate(REFERENCE, download=False) == bundles.fetch(REFERENCE) == folder
    assert artifact.num_written == 1


def test_what_fails_its_check_is_never_used_and_fetched_again(artifact: type[FakeArtifact]):
    artifact.text = "half"
    with pytest.raises(ModelNotFound, match="digest mismatch"):
        wandb_artifacts.locate(REFERENCE, download=True)
    with pytest.raises(ModelNotFound, match="has not been downloaded"):
        wandb_artifacts.locate(REFERENCE, download=False)
    artifact.text = "whole"
    assert wandb_artifacts.locate(REFERENCE, download=True).is_dir()


def test_what_cannot_be_had_says_why(artifact: type[FakeArtifact], monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ModelNotFound, match="no someone/other/x:v1"):
        bundles.fetch("someone/other/x:v1")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModelNotFound, match="pip install wandb"):
        bundles.fetch("someone/other/x:v1")


@pytest.mark.parametrize("name", ["org/name", "a/b/c", "../../etc:v1", "a/../c:v1", "a/b/c:", "a/b/c:..", "", "a:b"])
def test_other_names_are_no_artifacts(name: str):
    assert not wandb_artifacts.is_reference(name)
