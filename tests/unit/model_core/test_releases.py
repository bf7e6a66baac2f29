"""What is said of published models fits what the commands take, and what the documents say."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from deployments.cli import main as cli
from model_core import releases

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
STEPS = [(release, step) for release in releases.RELEASES for step in release.steps]


def test_names_are_found_whatever_their_case_and_revision():
    assert len({release.id.lower() for release in releases.RELEASES}) == len(releases.RELEASES)
    for release in releases.RELEASES:
        assert releases.find(release.id) is release
        assert releases.find(f"{release.id.upper()}@main") is release
        assert not release.instead or releases.find(release.instead)
    assert releases.find("org/none") is None


@pytest.mark.parametrize(("release", "step"), STEPS, ids=lambda value: getattr(value, "id", "")[:40])
def test_every_step_is_a_command_with_options_that_exist(release: releases.Release, step: str):
    commands = re.findall(r"dalle-serve [^\")]*", step.format(folder="/a folder"))
    assert commands or step.startswith("mkdir")
    known = typer.main.get_command(cli.app)
    for line in commands:
        command, words = known, shlex.split(line)[1:]
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
    for other in re.findall(r"models download ([\w./-]+)", step):
        assert releases.find(other), f"{other} is not known"


@pytest.mark.parametrize(
    "hub_id",
    [release.id for release in releases.RELEASES if release.steps and "mega" not in release.id],
)
def test_the_readme_says_the_same(hub_id: str):
    """In its table, or, of DALL·E mini, in a snippet that is run."""
    release = releases.find(hub_id)
    assert release is not None and f"models download {hub_id}" in README
    for step in release.steps:
        asked = f"models download {hub_id}" + " --accept-licence" * bool(release.restricts)
        said = step.replace("{folder}", f'"$(dalle-serve {asked})"').replace(" && ", "\n")
        assert said in README, said


def test_the_list_of_models_has_every_release_and_its_licence():
    result = CliRunner().invoke(cli.app, ["models"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for release in releases.RELEASES:
        assert (release.id in result.stdout) is not bool(release.instead)
    assert "emoji" in result.stdout and "CC-BY-NC" in result.stdout
