import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from deployments import cli, client
from deployments.client import DrawnImage
from deployments.errors import RequestFailed
from model_core.images import encode_png


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Commands set variables for what they start; this gives them back."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1" if name == "HF_HUB_OFFLINE" else "token")
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        monkeypatch.setenv(name, "0")
    yield


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments)


def test_help_imports_nothing_heavy():
    look = (
        "import sys; from typer.testing import CliRunner; from deployments.cli import app;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        "print([name for name in ('ray', 'jax', 'numpy', 'fastapi', 'httpx', 'pydantic') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "[]"


def test_a_taken_port_is_named():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        result = run("serve", "--port", str(port))
    assert result.exit_code == 1
    assert f"Port {port} on 127.0.0.1 is taken" in result.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_are_let_in_on_purpose_only(host: str):
    result = run("serve", "--host", host)
    assert result.exit_code == 1
    assert "--allow-remote" in result.stderr


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("generate",), ("generate", "x", "-n", "0"), ("paint",)])
def test_wrong_arguments_exit_with_2(command: tuple[str, ...]):
    assert run(*command).exit_code == 2


@pytest.mark.parametrize("command", [("serve", "--port", "65001"), ("demo", "an avocado"), ("generate", "an avocado")])
def test_a_model_that_is_not_here_is_named_before_anything_starts(command: tuple[str, ...]):
    result = run(*command, "--model", "no-such-model")
    assert result.exit_code == 1
    assert "no-such-model" in result.stderr


def test_images_from_a_url_are_written_best_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked = {}

    def draw(url: str, fields: dict[str, Any]) -> list[DrawnImage]:
        asked.update(fields, url=url)
        png = encode_png(np.zeros((4, 4, 3), np.uint8))
        return [DrawnImage(png=png, seed=5, score=1.5), DrawnImage(png=png, seed=4, score=None)]

    monkeypatch.setattr(client, "draw", draw)
    out = tmp_path / "pictures"
    result = run(
        *("generate", "an avocado", "--url", "http://there", "-n", "2", "--best-of", "4"), "--out", str(out), "--json"
    )
    assert result.exit_code == 0, result.stderr
    assert (asked["url"], asked["n"], asked["best_of"], asked["seed"]) == ("http://there", 2, 4, None)
    assert "model" not in asked  # the service's default
    assert json.loads(result.stdout) == {
        "images": [
            {"file": str(out / "1-seed5.png"), "seed": 5, "clip_score": 1.5},
            {"file": str(out / "2-seed4.png"), "seed": 4, "clip_score": None},
        ],
        "grid": str(out / "grid.png"),
    }
    assert sorted(path.name for path in out.iterdir()) == ["1-seed5.png", "2-seed4.png", "grid.png"]


def test_a_service_that_does_not_answer_is_an_error_in_one_line():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # not listening: whoever connects is refused
        result = run("generate", "an avocado", "--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert result.exit_code == 1
    assert "Is the service running there?" in result.stderr


def test_what_is_no_such_service_is_said(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(RequestFailed, match="No answer"):
        client.draw("not a url", {"prompt": "x"})
