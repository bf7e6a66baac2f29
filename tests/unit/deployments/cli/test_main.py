import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import typer
from typer.testing import CliRunner, Result

from deployments import local
from deployments.cli import main as cli
from deployments.cli import serve as cli_serve
from deployments.host import free_port

ROOT = Path(__file__).parents[4]

pytestmark = pytest.mark.usefixtures("given_back_environment")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments)


def test_help_imports_nothing_heavy():
    look = (
        "import sys; from typer.testing import CliRunner; from deployments.cli.main import app;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        "print([name for name in ('ray', 'jax', 'numpy', 'fastapi', 'httpx', 'pydantic') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "[]"


def test_the_version_is_that_of_the_package():
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"dalle-serve {version('dalle-serve')}\n")


def test_every_command_is_in_the_documents():
    document = (ROOT / "docs" / "cli.md").read_text()
    commands = list(commands_of(typer.main.get_command(cli.app)))
    assert len(commands) > 20
    assert [command for command in commands if f"`{command}" not in document] == []


def commands_of(command: click.Command, name: str = "") -> Iterator[str]:
    """The names of all commands that do something and are shown, such as "train data folder"."""
    inner = getattr(command, "commands", {})
    if name and (not inner or getattr(command, "invoke_without_command", False)):
        yield name
    for word, each in inner.items():
        if each.hidden:
            continue
        yield from commands_of(each, f"{name} {word}".strip())


def test_the_line_to_try_has_a_key_where_one_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    @contextmanager
    def service(*args: object, **options: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(url="http://127.0.0.1:8000")

    class Stopped:
        def wait(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(local, "LocalService", service)
    monkeypatch.setattr(cli_serve.threading, "Event", Stopped)
    (tmp_path / "keys").write_text("a-key-of-enough-letters\n")
    port = str(free_port())
    assert "Authorization" not in run("serve", "--port", port).stderr
    assert (
        "-H 'Authorization: Bearer YOUR_KEY'"
        in run("serve", "--port", port, "--keys-file", str(tmp_path / "keys")).stderr
    )


@pytest.mark.parametrize(
    ("host", "words"), [("203.0.113.7", "no address of this machine"), ("no.such.name", "no name")]
)
def test_an_address_that_is_not_here_is_named(host: str, words: str):
    result = run("serve", "--port", "8053", "--host", host, "--allow-remote")
    assert result.exit_code == 1
    assert host in result.stderr and words in result.stderr and "taken" not in result.stderr


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
    assert "allow" in result.stderr and host in result.stderr


def test_a_file_of_keys_must_be_there_and_hold_keys(tmp_path: Path):
    (tmp_path / "short").write_text("hunter2\n")
    for keys, words in ((tmp_path / "none", "none cannot be read"), (tmp_path / "short", "line 1 is no key")):
        result = run("serve", "--keys-file", str(keys))
        assert result.exit_code == 1, result.output
        assert words in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("serve", "--port", "0"),
        ("generate",),
        ("generate", "x", "-n", "0"),
        ("paint",),
        ("serve", "--window", "0"),
        ("generate", "x", "--window", "wide"),
    ],
)
def test_wrong_arguments_exit_with_2(command: tuple[str, ...]):
    assert run(*command).exit_code == 2


@pytest.mark.parametrize("command", [("serve", "--port", "65001"), ("demo", "an avocado"), ("generate", "an avocado")])
def test_a_model_that_is_not_here_is_named_before_anything_starts(command: tuple[str, ...]):
    result = run(*command, "--model", "no-such-model")
    assert result.exit_code == 1
    assert "no-such-model" in result.stderr


def test_shells_complete_the_names_of_models():
    asked = {
        "_DALLE_SERVE_COMPLETE": "complete_bash",
        "COMP_WORDS": "dalle-serve generate x --model em",
        "COMP_CWORD": "4",
    }
    result = CliRunner().invoke(cli.app, prog_name="dalle-serve", env=asked)
    assert result.stdout.split() == ["emoji"]
