"""The command, with workers that write an answer for each line, as those on Ray do."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from deployments import ray_cluster
from deployments.batches.lines import Line
from deployments.cli.main import app
from deployments.config import AppConfig
from deployments.offline import drawing
from deployments.offline.results import Results
from model_core.errors import DalleServeError
from tests.unit.deployments.batches.conftest import jsonl


class Workers:
    """Attributes: `drawn`, the lines so far; `fails_after`, so many of them."""

    def __init__(self) -> None:
        self.drawn: list[int] = []
        self.config = AppConfig()
        self.fails_after = 10**6

    def __call__(self, lines: Sequence[Line], config: AppConfig, folder: Path, **options: Any) -> None:
        self.config = config
        results = Results(folder)
        for line in lines:
            if len(self.drawn) == self.fails_after:
                raise DalleServeError("A worker failed.")
            if line.body["prompt"] == "no":
                results.keep_refusal(line.number, "r", line.custom_id, 400, {})
            else:
                results.keep(line.number, "r", line.custom_id, {"output_format": "png", "data": [{"image": b"x"}]})
            self.drawn.append(line.number)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, given_back_environment: None) -> Workers:
    workers = Workers()
    monkeypatch.setattr(drawing, "draw_lines", workers)
    for name in ("start_ray", "stop_ray"):
        monkeypatch.setattr(ray_cluster, name, lambda: None)
    monkeypatch.setattr(ray_cluster, "ending_with_this_process", contextlib.nullcontext)
    monkeypatch.setattr(ray_cluster, "prepare_token", lambda report: None)
    return workers


def run(folder: Path, data: bytes, *options: str) -> Result:
    (folder / "prompts.jsonl").write_bytes(data)
    return CliRunner().invoke(app, ["batch", str(folder / "prompts.jsonl"), "--out", str(folder / "out"), *options])


def test_what_is_left_is_drawn_the_next_time(workers: Workers, tmp_path: Path):
    data = jsonl("a cat", "a dog", "a cow", "a hen")
    workers.fails_after = 2
    broken = run(tmp_path, data)
    assert broken.exit_code == 1 and "A worker failed." in broken.output
    assert not (tmp_path / "out/output.jsonl").exists()
    workers.fails_after = 10**6
    assert run(tmp_path, data).exit_code == 0
    assert workers.drawn == [1, 2, 3, 4]
    assert len((tmp_path / "out/output.jsonl").read_text().splitlines()) == 4
    done = run(tmp_path, data, "--json")
    assert json.loads(done.stdout)["drawn"] == 4 and workers.drawn == [1, 2, 3, 4]


def test_requests_that_failed_make_a_failure(workers: Workers, tmp_path: Path):
    ended = run(tmp_path, jsonl("a cat", "no"), "--json")
    assert ended.exit_code == 1
    found = json.loads(ended.stdout)
    assert (found["drawn"], found["failed"]) == (1, 1)
    assert Path(found["errors"]).read_text().count("\n") == 1


def test_a_broken_file_is_told_by_its_lines(workers: Workers, tmp_path: Path):
    ended = run(tmp_path, jsonl("a cat") + b"[bold]\n" + b"{}\n")
    assert ended.exit_code == 2 and "Line 2: it is not JSON" in ended.output and "Line 3: custom_id" in ended.output
    assert not workers.drawn and not (tmp_path / "out").exists()


def test_another_batch_or_model_wants_another_folder(workers: Workers, tmp_path: Path, model_folder: Path):
    assert run(tmp_path, jsonl("a cat")).exit_code == 0
    for data, options in ((jsonl("a dog"), ()), (jsonl("a cat"), ("--model", str(model_folder)))):
        ended = run(tmp_path, data, *options)
        assert ended.exit_code == 1 and "choose another, --out" in ended.output


def test_a_serve_file_says_what_draws(workers: Workers, tmp_path: Path):
    args = {"models": [{"id": "emoji", "token_sampler": {"slots": 3}}]}
    content = {"applications": [{"name": "a", "import_path": "deployments.app:build_app", "args": args}]}
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(content))
    assert run(tmp_path, jsonl("a cat"), "--settings", str(tmp_path / "serve.yaml")).exit_code == 0
    assert workers.config.models[0].token_sampler.slots == 3
    (tmp_path / "serve.yaml").write_text("applications: 3")
    ended = run(tmp_path, jsonl("a cat"), "--settings", str(tmp_path / "serve.yaml"))
    assert ended.exit_code == 1 and "is no Serve file" in ended.output
