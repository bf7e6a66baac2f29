import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from deployments.cli import client
from deployments.cli import main as cli
from deployments.cli.client import DrawnImage, ServiceBusy
from deployments.errors import RequestFailed
from model_core.pictures.images import encode_png

pytestmark = pytest.mark.usefixtures("given_back_environment")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["generate", "an avocado", *arguments])


def test_images_from_a_url_are_written_best_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked = {}

    def draw(url: str, fields: dict[str, Any], **options: Any) -> list[DrawnImage]:
        asked.update(fields, url=url, api_key=options["api_key"])
        options["on_progress"](1, 2)
        png = encode_png(np.zeros((4, 4, 3), np.uint8))
        return [DrawnImage(png=png, seed=5, score=1.5), DrawnImage(png=png, seed=4, score=None)]

    monkeypatch.setattr(client, "draw", draw)
    out = tmp_path / "pictures"
    options = ("-n", "2", "--best-of", "4", "--api-key", "secret", "--out", str(out), "--json")
    result = run("--url", "http://there", *options)
    assert result.exit_code == 0, result.stderr
    assert (asked["url"], asked["n"], asked["best_of"], asked["seed"]) == ("http://there", 2, 4, None)
    assert (asked["model"], asked["api_key"]) == (None, "secret")  # None: the service's default
    assert json.loads(result.stdout) == {
        "images": [
            {"file": str(out / "1-seed5.png"), "seed": 5, "clip_score": 1.5},
            {"file": str(out / "2-seed4.png"), "seed": 4, "clip_score": None},
        ],
        "grid": str(out / "grid.png"),
    }
    assert sorted(path.name for path in out.iterdir()) == ["1-seed5.png", "2-seed4.png", "grid.png"]


@pytest.mark.parametrize(("error", "status"), [(RequestFailed("it is so"), 1), (ServiceBusy("it is so"), 3)])
def test_a_busy_service_has_an_exit_status_of_its_own(monkeypatch: pytest.MonkeyPatch, error: Exception, status: int):
    def draw(*arguments: Any, **options: Any) -> list[DrawnImage]:
        raise error

    monkeypatch.setattr(client, "draw", draw)
    result = run("--url", "http://there")
    assert result.exit_code == status
    assert "it is so" in result.stderr and not result.stdout


def test_a_service_that_does_not_answer_is_an_error_in_one_line():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # not listening: whoever connects is refused
        result = run("--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert result.exit_code == 1
    assert "Is the service running there?" in result.stderr
