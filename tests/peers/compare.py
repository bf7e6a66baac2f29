"""Times this project and others that draw with the same networks, side by side on this machine.

    python tests/peers/compare.py --dalle-mini PYTHON --min-dalle PYTHON [--images 1,4] [--codes 256] [--repeats 3]
    python tests/peers/compare.py --decoder --dalle-mini PYTHON --images 1,8
    python tests/peers/compare.py --model malevich --rudalle PYTHON --codes 24
    python tests/peers/compare.py --model janus-pro-1b --transformers PYTHON --codes 24

Every contender runs in a process of its own, with the Python that has it installed (see README.md), on random weights
of the model's size in float32, guidance as the model's default; with --decoder, of DALL·E mini's VQGAN. All are loaded
and compiled first; then they draw in turns, so that what else the machine does falls on all alike. Prints medians, and
ratios of times measured in the same round.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

FOLDER = Path(__file__).parent
CODES = {"mini": 256, "malevich": 1024, "janus-pro-1b": 576}  # of an image


class Contender:
    """A worker that draws when told to. It prints a line of JSON when it is ready, and one for every drawing."""

    def __init__(self, name: str, *command: str):
        self.name = name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self._read()
        self.seconds: list[float] = []

    def draw(self) -> float:
        """Has one call drawn; gives the seconds that it took."""
        assert self._process.stdin
        self._process.stdin.write("draw\n")
        self._process.stdin.flush()
        self.seconds.append(self._read()["seconds"])
        return self.seconds[-1]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self._process.wait()}; what it said stands above.")
        return json.loads(line)


def compare(commands: dict[str, list[str]], images: int, codes: int, whole: int, repeats: int) -> None:
    """Draws `images` images a call with each, `repeats` times in turns, and prints what it took.

    Args:
      codes: that are drawn of each image; `whole` are all that it has.
    """
    contenders: list[Contender] = []
    try:
        for name, command in commands.items():
            contenders.append(Contender(name, *command, str(images), str(codes)))
            print(f"{name}: {contenders[-1].ready}", file=sys.stderr)
        for _ in range(repeats):
            for one in contenders:
                print(f"{one.name}: {one.draw():.1f} s", file=sys.stderr)
    finally:
        for one in contenders:
            one.stop()
    for line in result_lines(contenders, images, whole / codes):
        print(line)


def result_lines(contenders: list[Contender], images: int, scale: float) -> list[str]:
    """A table row for each: the median, scaled to whole images, and the median ratio to the first one's times."""
    ours = contenders[0]
    lines = []
    for one in contenders:
        ratio = median(theirs / own for theirs, own in zip(one.seconds, ours.seconds, strict=True))
        lines.append(f"| {images} | {one.name} | {median(one.seconds) / images * scale:.2f} | {ratio:.2f} |")
    return lines


def commands(asked: argparse.Namespace) -> dict[str, list[str]]:
    """What to start, by name; this project first."""
    if asked.decoder:
        started = [
            ("dalle-serve", sys.executable, ["our_vqgan_worker.py"]),
            ("vqgan-jax", asked.dalle_mini, ["vqgan_jax_worker.py"]),
        ]
    else:
        started = [
            ("dalle-serve", sys.executable, ["our_worker.py", asked.model]),
            *{
                "mini": [
                    ("dalle-serve, deterministic", sys.executable, ["our_worker.py", "deterministic", "mini"]),
                    ("dalle-mini", asked.dalle_mini, ["dalle_mini_worker.py"]),
                    ("min-dalle", asked.min_dalle, ["min_dalle_worker.py"]),
                ],
                "malevich": [("rudalle", asked.rudalle, ["rudalle_worker.py"])],
                "janus-pro-1b": [("transformers", asked.transformers, ["janus_worker.py"])],
            }[asked.model],
        ]
    return {name: [python, str(FOLDER / script), *more] for name, python, (script, *more) in started if python}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dalle-mini", help="the Python that has dalle-mini and vqgan-jax; left out without")
    parser.add_argument("--min-dalle", help="the Python that has min-dalle; left out without")
    parser.add_argument("--rudalle", help="the Python that has rudalle and torch")
    parser.add_argument("--transformers", help="the Python that has transformers and torch")
    parser.add_argument("--model", choices=CODES, default="mini", help="of whose size all are")
    parser.add_argument("--decoder", action="store_true", help="codes to pixels, instead of texts to codes")
    parser.add_argument("--images", default="1,4", help="images a call, with commas")
    parser.add_argument("--codes", type=int, help="draw only so many, and scale the time up; else all")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    asked = parser.parse_args()
    whole = CODES[asked.model]
    codes = whole if asked.decoder else asked.codes or whole
    print("| images a call | | s/image | times ours |\n|---|---|---|---|")
    for images in asked.images.split(","):
        compare(commands(asked), int(images), codes, whole, asked.repeats)


if __name__ == "__main__":
    main()
