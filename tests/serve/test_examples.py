"""Every example runs, and the command line draws over HTTP, against the running service."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from typer.testing import CliRunner

from deployments.cli import main as cli
from deployments.local import LocalService
from model_core.pictures.images import read_image

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE_S = 240


def run_example(name: str, *arguments: str, folder: Path) -> None:
    """Where the environment names a proxy, which would not reach this machine."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    environment = os.environ | {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=PATIENCE_S, capture_output=True)


def test_previews_and_the_picture_are_streamed(service: LocalService, tmp_path: Path):
    run_example("streaming_client.py", service.url, folder=tmp_path)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert "avocado.png" in files
    assert set(files) <= {"avocado.png", *(f"avocado-preview-{i}.png" for i in (1, 2, 3))}
    assert {read_image(path).shape for path in tmp_path.iterdir()} == {(32, 32, 3)}


def test_pictures_are_drawn_in_process(tiny_model: Path, tmp_path: Path):
    run_example("in_process.py", str(tiny_model), folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["avocado-1.png", "avocado-2.png"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Jupyter's packages warn of each other
def test_the_notebook_runs(tiny_model: Path, tmp_path: Path):
    notebook = nbformat.read(EXAMPLES / "pictures.ipynb", as_version=4)
    for cell in notebook.cells:  # the shipped model would take a minute
        cell.source = cell.source.replace('from_model("emoji")', f"from_model({str(tiny_model)!r})")
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=PATIENCE_S, kernel_name="python3", resources=resources).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 3
    assert any(output.get("data", {}).get("text/plain") == "True" for output in shown)


def test_the_command_line_draws_over_http(service: LocalService, tmp_path: Path):
    arguments = ["generate", "an avocado", "-n", "2", "--best-of", "3", "--seed", "5", "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(cli.app, [*arguments, "--url", service.url])
    assert result.exit_code == 0, result.output
    drawn = json.loads(result.stdout)
    assert {image["seed"] for image in drawn["images"]} < {5, 6, 7}
    assert read_image(Path(drawn["images"][0]["file"])).shape == (32, 32, 3)
