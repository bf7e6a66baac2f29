"""Settings of a Serve file, and the `serve run` that is told what is wrong: played by a small program of that name."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deployments.config import AppConfig, ClipScorerConfig, ModelConfig
from deployments.errors import InvalidSettings
from deployments.serve_file import check_files, read_settings, serve_run
from model_core.errors import ModelNotFound

ROOT = Path(__file__).parents[3]
FILE = {
    "http_options": {"host": "127.0.0.1"},
    "applications": [{"name": "dalle-serve", "import_path": "deployments.app:build_app", "args": {}}],
}
# As `serve run` does, it has the application built by another process, and then waits for ever.
SERVE = """
import json, subprocess, sys, time
args = json.load(open(sys.argv[2]))["applications"][0]["args"]
build = "import json, sys; from deployments.serve_file import read_settings; read_settings(json.loads(sys.argv[1]))"
subprocess.run([sys.executable, "-c", build, json.dumps(args)], stderr=subprocess.DEVNULL)
print("built", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"modles": []}, "modles: there is no such setting"),
        ({"models": [{"token_sampler": {"slotz": 3}}]}, "models.0.token_sampler.slotz: there is no such setting"),
        ({"limits": {"max_n": "many"}}, "limits.max_n: must be a valid integer, unable to parse string as an integer"),
        ({"models": [{"id": "a"}], "default_model": "b"}, "default_model 'b' is none of the models: a"),
        ({"a": 1, "b": 2}, "a: there is no such setting; b: there is no such setting."),
    ],
)
def test_what_is_wrong_is_said_in_one_line(args: dict[str, Any], words: str):
    with pytest.raises(InvalidSettings) as raised:
        read_settings(args)
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_what_is_right_is_taken():
    assert read_settings({"limits": {"max_n": 4}}).limits.max_n == 4
    assert read_settings(AppConfig()) == AppConfig()
    assert serve_run() is None


def test_a_scorer_is_looked_for_as_a_model_is():
    janus = str(ROOT / "tests" / "parity" / "fixtures" / "janus-tiny")  # which has none
    for scorer, words in (({"source": "no-such-scorer"}, "no-such-scorer"), ({}, "source: openai/clip-vit")):
        with pytest.raises(ModelNotFound, match=words):
            check_files(ModelConfig(id="janus", source=janus, clip_scorer=ClipScorerConfig(**scorer)))
    assert check_files(ModelConfig(id="janus", source=janus, clip_scorer=None)).scorer is None
    assert check_files(ModelConfig(id="janus", source=janus, clip_scorer=ClipScorerConfig(source="emoji"))).scorer


def run(folder: Path, content: dict[str, Any]) -> subprocess.Popen:
    (folder / "serve").write_text(SERVE)
    (folder / "file.yaml").write_text(json.dumps(content))
    return subprocess.Popen(
        [sys.executable, "serve", "run", "file.yaml"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"args": {"models": [{"token_sampler": {"slotz": 3}}]}}, "models.0.token_sampler.slotz: there is no such"),
        ({"args": {"models": [{"id": "no-such-model"}]}}, "no-such-model"),
        (
            {"deployments": [{"name": "gateway", "num_replica": 2}]},
            "applications.deployments.num_replica: Serve has no",
        ),
        ({"rout_prefix": "/"}, "applications.rout_prefix: Serve has no such setting"),
    ],
)
def test_serve_run_is_told_and_ended(tmp_path: Path, change: dict[str, Any], words: str):
    content = FILE | {"applications": [FILE["applications"][0] | change]}  # type: ignore[index]
    with run(tmp_path, content) as command:
        try:
            _, errors = command.communicate(timeout=60)
        finally:
            command.kill()
    assert command.returncode == -signal.SIGHUP
    (line,) = errors.splitlines()
    assert line.startswith("Error: ") and words in line


def test_serve_run_of_a_file_without_mistakes_goes_on(tmp_path: Path):
    with run(tmp_path, FILE) as command:
        try:
            assert command.stdout
            assert command.stdout.readline() == "built\n"
            assert command.poll() is None
        finally:
            command.kill()
