"""`models download` with hubs of our own making: nothing asks the network."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from typer.testing import CliRunner, Result

from deployments.cli import main as cli
from model_core import archives


def download(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["models", "download", *arguments], env={"COLUMNS": "300"})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, tuple[str, ...]]:
    """Repositories by id, with their files; each is "downloaded" below `tmp_path`, as far as the patterns allow."""
    repositories: dict[str, tuple[str, ...]] = {}

    def snapshot_download(repo: str, *, allow_patterns: list[str], **options: Any) -> str:
        assert options["local_files_only"] is False
        folder = tmp_path / repo.replace("/", "--")
        folder.mkdir(exist_ok=True)
        for file in huggingface_hub.utils.filter_repo_objects(list(repositories[repo]), allow_patterns=allow_patterns):
            (folder / file).write_text("{}")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return repositories


def test_the_folder_goes_to_stdout_and_the_licence_and_what_comes_next_to_stderr(hub, tmp_path):
    hub["ai-forever/rudalle-Malevich"] = ("pytorch_model.bin", "pytorch_model_v3.bin", "README.md", "preview.png")
    result = download("ai-forever/rudalle-Malevich")
    folder = tmp_path / "ai-forever--rudalle-Malevich"
    assert (result.exit_code, result.stdout) == (0, f"{folder}\n"), result.stderr
    assert [path.name for path in folder.iterdir()] == ["pytorch_model_v3.bin"]
    assert "Licence of the weights: not stated" in result.stderr
    assert f"dalle-serve convert {folder}/pytorch_model_v3.bin malevich --also" in result.stderr
    assert "dalle-serve serve --model malevich" in result.stderr


def test_what_a_conversion_needs_beside_it_is_fetched(hub, tmp_path):
    files = ("bpe.model", "vqgan.gumbelf8-sber.model.ckpt", "vqgan.gumbelf8-sber-dwt.model.ckpt", "config.yml")
    hub["ai-forever/rudalle-utils"] = (*files, "RealESRGAN_x2.pth")
    assert download("ai-forever/rudalle-utils").exit_code == 0
    found = {path.name for path in (tmp_path / "ai-forever--rudalle-utils").iterdir()}
    assert found == set(files) - {"vqgan.gumbelf8-sber-dwt.model.ckpt"}


def test_a_model_that_loads_is_fetched_whole(hub, tmp_path):
    hub["deepseek-community/Janus-Pro-1B"] = ("config.json", "model.safetensors", "tokenizer.json", "janus.png")
    result = download("deepseek-community/Janus-Pro-1B")
    assert result.exit_code == 0 and "DeepSeek Model License" in result.stderr
    assert "serve --model deepseek-community/Janus-Pro-1B --scorer openai/clip-vit-base-patch32" in result.stderr
    found = {path.name for path in (tmp_path / "deepseek-community--Janus-Pro-1B").iterdir()}
    assert found == {"config.json", "model.safetensors", "tokenizer.json"}


def test_single_files_are_fetched_where_they_are_named(hub, tmp_path):
    hub["peizesun/llamagen_t2i"] = ("t2i_XL_stage1_256.pt", "t2i_XL_stage2_512.pt", "vq_ds16_t2i.pt")
    result = download("peizesun/llamagen_t2i", "--file", "t2i_XL_stage2_*.pt", "--file", "vq_ds16_t2i.pt")
    assert result.exit_code == 0 and "Next" not in result.stderr
    found = {path.name for path in (tmp_path / "peizesun--llamagen_t2i").iterdir()}
    assert found == {"t2i_XL_stage2_512.pt", "vq_ds16_t2i.pt"}
    missing = download("peizesun/llamagen_t2i", "--file", "dalle.pt")
    assert missing.exit_code == 1 and "has no dalle.pt" in missing.stderr
    elsewhere = download("entity/project/name:v1", "--file", "dalle.pt")
    assert elsewhere.exit_code == 1 and "from Hugging Face only" in elsewhere.stderr


def test_a_repository_of_pickles_alone_is_no_success(hub):
    hub["org/pickles"] = ("config.json", "pytorch_model.bin")
    result = download("org/pickles")
    assert result.exit_code == 1 and result.stdout == ""
    assert "no weights that are read" in result.stderr and "--file" in result.stderr
    assert "https://huggingface.co/org/pickles" in result.stderr  # for its licence
    result = download("deepseek-ai/Janus-Pro-7B")
    assert result.exit_code == 1 and "models download deepseek-community/Janus-Pro-7B" in result.stderr


def test_a_licence_that_forbids_something_is_accepted_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked = []

    def fetch(name: str, url: str, md5: str, members: Any, on_bytes: Any) -> Path:
        asked.append((name, url, members))
        on_bytes(1, 2)
        return tmp_path / "a folder"

    monkeypatch.setattr(archives, "fetch", fetch)
    refused = download("kakaobrain/minDALL-E")
    assert refused.exit_code == 1 and not asked
    assert "CC-BY-NC-SA-4.0: no commercial use" in refused.stderr and "--accept-licence" in refused.stderr
    result = download("kakaobrain/mindall-e", "--accept-licence")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'a folder'}\n"), result.stderr
    assert f"dalle-serve convert '{tmp_path / 'a folder'}' mindalle" in result.stderr
    ((name, url, members),) = asked
    assert name == "kakaobrain--minDALL-E" and url.startswith("https://") and "stage2_last.ckpt" in members
