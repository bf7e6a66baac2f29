"""The README's snippets, as they stand there: each runs, but for addresses, the tiny model's name, and shorter times.

What cannot run here (downloads, targets that run the tests) meets stand-ins; a snippet that no test knows is an error.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from deployments.host import free_port
from deployments.local import LocalService
from model_core import bundles, families
from model_core.pictures.images import read_image

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "parity" / "fixtures"
PATIENCE_S = 300
SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
# What tells a snippet from the others, and the test that runs it.
KNOWN = {
    "make serve": "targets",
    "curl http": "curl",
    "from openai": "openai",
    "serve run": "cluster",
    "serve.get_app_handle": "handle",
    "make loadtest": "load",
    "dalle-serve generate": "generate",
    "Pipeline.from_model": "pipeline",
    "models download": "download",
    "Pipeline.from_parts": "parts",
    '{"id": "llamagen"': "llamagen",
}
# The public models are as if they had been downloaded, and are the tiny ones of the tests.
DOWNLOADED = f"""
from pathlib import Path
from model_core import bundles

parts = {{"dalle-mini/dalle-mini": "dalle-tiny", "dalle-mini/vqgan_imagenet_f16_16384": "vqgan-tiny",
         "openai/clip-vit-base-patch32": "clip-tiny"}}
bundles._hub_folder = lambda hub_id, download, files=(): Path({str(FIXTURES)!r}) / parts[hub_id]
"""
# In place of the command; a service is only prepared.
COMMAND = f"""#!{sys.executable}
import sys
from deployments.cli import serve
from deployments.cli.main import app
{DOWNLOADED}
if sys.argv[1] == "serve":
    print(serve.config_for(sys.argv[sys.argv.index("--model") + 1]).models[0].id)
else:
    app()
"""


def snippet(name: str) -> str:
    (mark,) = [mark for mark, test in KNOWN.items() if test == name]
    (text,) = [text for _, text in SNIPPETS if mark in text]
    return text


def replaced(text: str, **pairs: str) -> str:
    """The text with some words for others; each must be there."""
    for old, new in pairs.values():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Runs a snippet in an empty folder, as in a shell in which nothing of Ray or JAX is set; gives what it printed."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "dalle-serve").write_text(COMMAND)
    (tools / "dalle-serve").chmod(0o755)
    folder = tmp_path / "here"
    folder.mkdir()
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "JAX_", "HF_"))}
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = plain | {"PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}

    def run(text: str, *command: str, cwd: Path = folder, **more: str) -> str:
        done = subprocess.run(
            [*command, text], cwd=cwd, env=environment | more, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Where sockets may lie, whose paths have at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


SHELL = ("bash", "-euo", "pipefail", "-c")
PYTHON = (sys.executable, "-c")


def test_every_snippet_is_known():
    assert len(SNIPPETS) == len(KNOWN)
    for name in KNOWN.values():
        assert snippet(name)


def test_a_llamagen_is_put_together(tmp_path: Path):
    """Its model.json names the folders of its three parts."""
    shutil.copytree(FIXTURES / "llamagen-tiny", tmp_path / "xl")
    (tmp_path / "xl" / "model.json").write_text(snippet("llamagen"))
    bundle = bundles.resolve(tmp_path / "xl")
    assert (bundle.sampler.name, bundle.codec.name, bundle.text.name) == ("gpt", "vq", "flan-t5-xl")
    assert bundle.sampling == dict(families.read_config(bundle.sampler).default_sampling)


@pytest.mark.parametrize("name", ["targets", "load"])
def test_make_knows_the_targets(run: Callable[..., str], name: str):
    targets = [line for line in snippet(name).splitlines() if line.startswith("make ")]
    assert targets
    for line in targets:
        assert run(line.replace("make ", "make --dry-run ", 1), *SHELL, cwd=ROOT)


def test_curl_draws(run: Callable[..., str], service: LocalService):
    assert '"b64_json"' in run(replaced(snippet("curl"), url=("http://127.0.0.1:8000", service.url)), *SHELL)


def test_openais_client_draws(run: Callable[..., str], service: LocalService, tmp_path: Path):
    pairs = {"url": ("http://127.0.0.1:8000", service.url), "model": ('"emoji"', '"tiny"')}
    run(replaced(snippet("openai"), **pairs), *PYTHON)
    assert [read_image(tmp_path / "here" / f"apple-{i}.png").shape for i in (0, 1)] == [(32, 32, 3)] * 2


def test_a_handle_in_another_process_draws(run: Callable[..., str], service: LocalService):
    import ray

    # There may be other clusters on a machine that tests. The second is for throughput mode only.
    more = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1"}
    text = snippet("handle") + 'print(reply["data"][0]["image"][:4])'
    assert "PNG" in run(text, *PYTHON, **more)


def test_locust_loads(run: Callable[..., str], service: LocalService):
    (line,) = [line for line in snippet("load").splitlines() if line.startswith("locust")]
    run(replaced(line, url=("http://127.0.0.1:8000", service.url), time=("60s", "3s")), *SHELL, cwd=ROOT)


def test_the_command_line_draws_without_a_service(run: Callable[..., str], tmp_path: Path):
    run(snippet("generate"), *SHELL)
    assert len(list((tmp_path / "here" / "out").glob("*-seed*.png"))) == 2


def test_the_pipeline_draws(run: Callable[..., str]):
    assert "(128, 128, 3)" in run(snippet("pipeline") + "    print(drawn.image.shape)", *PYTHON)


def test_a_public_model_is_put_together(run: Callable[..., str], tmp_path: Path):
    assert run(snippet("download"), *SHELL) == "mini\n"
    assert {path.name for path in (tmp_path / "here" / "mini").iterdir()} == {"dalle_bart", "vqgan", "clip"}


def test_a_public_model_is_loaded_in_python(run: Callable[..., str]):
    run(DOWNLOADED + snippet("parts"), *PYTHON)


def test_serve_run_serves(service: LocalService, short_folder: Path, tiny_model: Path, tmp_path: Path):
    """Beside the other service, with a cluster and a port of its own."""
    port = free_port()
    shutil.copytree(ROOT / "cluster", tmp_path / "cluster")
    file = tmp_path / "cluster" / "local.yaml"
    model = ("- id: emoji", f"- id: emoji\n          source: {tiny_model}")
    file.write_text(replaced(file.read_text(), port=("port: 8000", f"port: {port}"), model=model))
    environment = os.environ | {"RAY_TMPDIR": str(short_folder), "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with subprocess.Popen(snippet("cluster").split(), cwd=tmp_path, env=environment, start_new_session=True) as command:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not answers(f"http://127.0.0.1:{port}/ready"):
                assert command.poll() is None and time.monotonic() < deadline
                time.sleep(0.5)
        finally:
            command.send_signal(signal.SIGINT)
            command.wait(PATIENCE_S)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.TransportError:
        return False
