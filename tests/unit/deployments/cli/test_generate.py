import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from deployments.cli import client, gallery, generate
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


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that draws as many black pictures as it is asked for, of seeds from 5 on."""
    png = encode_png(np.zeros((4, 4, 3), np.uint8))

    def draw(url: str, fields: dict[str, Any], **options: Any) -> list[DrawnImage]:
        return [DrawnImage(png=png, seed=5 + place, score=None) for place in range(fields["n"])]

    monkeypatch.setattr(client, "draw", draw)


def test_two_runs_never_share_a_folder(drawn: None, tmp_path: Path):
    out = tmp_path / "pictures"
    (out / "mine").mkdir(parents=True)  # what is there besides does no harm
    folders = []
    for count in ("3", "1", "2"):
        result = run("--url", "http://there", "-n", count, "--out", str(out), "--json")
        assert result.exit_code == 0, result.output
        folders.append(Path(json.loads(result.stdout)["grid"]).parent)
    assert folders == [out, tmp_path / "pictures-2", tmp_path / "pictures-3"]
    assert [len(list(folder.glob("*-seed*.png"))) for folder in folders] == [3, 1, 2]


def test_two_runs_at_once_never_share_a_folder(tmp_path: Path):
    with ThreadPoolExecutor() as pool:
        folders = list(pool.map(gallery._claim, [tmp_path / "pictures"] * 20))
    assert len(set(folders)) == 20


@pytest.mark.parametrize("where", [("--url", "http://there"), ()])
def test_a_folder_that_cannot_be_written_is_told_before_drawing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: tuple[str, ...]
):
    monkeypatch.setattr(client, "draw", lambda *args, **options: pytest.fail("drew"))
    monkeypatch.setattr(generate, "_draw_here", lambda *args: pytest.fail("drew"))
    (tmp_path / "file").write_text("")
    for folder in ("/proc/nothing", str(tmp_path / "file" / "below")):
        result = run(*where, "--out", folder)
        assert result.exit_code == 1
        assert f"{folder} cannot be written" in result.stderr and "--out" in result.stderr


def test_a_service_has_a_scorer_of_its_own():
    result = run("--url", "http://there", "--scorer", "emoji")
    assert result.exit_code == 2 and "--scorer is for drawing" in result.stderr


@pytest.mark.parametrize("where", [("generate",), ("generate", "--url", "http://there"), ("demo",)])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("",), "prompt must have at least 1 character"),
        ((" ",), "prompt must not be empty: say what to draw"),
        (("x", "--seed", "-1"), "leave it out for a random one"),
        (("x", "--seed", "4294967296"), "seed must be between 0 and 4294967295"),
    ],
)
def test_what_the_service_refuses_is_refused_in_its_words(
    where: tuple[str, ...], arguments: tuple[str, ...], words: str, tmp_path: Path
):
    result = CliRunner().invoke(cli.app, [*where, *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


def test_more_images_than_can_be_drawn_here_are_refused(tmp_path: Path):
    result = run("-n", "65", "--out", str(tmp_path))
    assert result.exit_code == 2 and "n must be between 1 and 64" in result.stderr
