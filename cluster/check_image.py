"""Checks what cluster/Dockerfile installs, without building it: its lines, on what it copies, in a clean environment.

    python cluster/check_image.py             # every target: what would be installed is resolved, nothing is fetched
    python cluster/check_image.py --install cpu   # one target, really, and whether its command starts

A folder gets what the file copies, nothing else. There its `uv pip install` lines run in the order of the file, the
base's first, with a fresh environment in place of /opt/venv. What it does not see: Debian's packages, users, and what
JAX finds of a device.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = Path(__file__).with_name("Dockerfile")
ENVIRONMENT = "/opt/venv"
UV = Path(sys.executable).with_name("uv")


def targets_of(text: str) -> dict[str, list[str]]:
    """Of each stage of a Dockerfile its instructions, with lines that go on put together."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    instructions = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    stages: dict[str, list[str]] = {}
    for instruction in filter(str.strip, instructions):
        if begun := re.fullmatch(r"FROM (\S+) AS (\S+)", instruction):
            stages[begun[2]] = list(stages.get(begun[1], []))
        else:
            list(stages.values())[-1].append(instruction)
    return stages


def copied_by(instructions: list[str]) -> list[tuple[list[str], str]]:
    """What a stage copies out of the project: names, and where they go."""
    words = [shlex.split(line)[1:] for line in instructions if line.startswith("COPY ")]
    return [(names, target) for *names, target in words]


def installs_of(instructions: list[str]) -> list[list[str]]:
    """The arguments of each `uv pip install`."""
    runs = [part.strip() for line in instructions if line.startswith("RUN ") for part in line[4:].split("&&")]
    return [shlex.split(run)[3:] for run in runs if run.startswith("uv pip install ")]


def check(target: str, instructions: list[str], really: bool) -> None:
    """Goes through one target.

    Raises:
      CalledProcessError: an install failed; what it said stands above.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        folder.mkdir()
        for names, place in copied_by(instructions):
            for each in names:
                source, to = ROOT / each, folder / place
                if source.is_dir():
                    shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, to if place.endswith("/") else to.parent)
        environment = Path(name) / "venv"
        subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, environment], check=True)
        for arguments in installs_of(instructions):
            words = [word.replace(ENVIRONMENT, str(environment)) for word in arguments if word != "--no-cache"]
            dry = [] if really else ["--dry-run"]
            subprocess.run([UV, "pip", "install", "--quiet", *dry, *words], cwd=folder, check=True)
            print(f"{target}: {'installed' if really else 'can be installed'}: {arguments[-1]}", flush=True)
        if really:
            subprocess.run([environment / "bin/dalle-serve", "--help"], check=True, stdout=subprocess.DEVNULL)
            print(f"{target}: dalle-serve starts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", metavar="TARGET", help="install this one really, instead of resolving all")
    target = parser.parse_args().install
    stages = targets_of(DOCKERFILE.read_text())
    targets = [name for name in stages if name != "base"] if target is None else [target]
    for name in targets:
        check(name, stages[name], really=target is not None)


if __name__ == "__main__":
    main()
