"""Draws the loss of a training on two times four parts of a CPU over that on one device: mesh-loss.png.

python docs/images/mesh.py [FOLDER]   (the training of both goes into FOLDER, else into one that is removed)
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

STEPS = 100
COLORS = ("red", "green", "blue", "orange", "purple", "black")
SHAPES = {"circle": "ellipse", "square": "rectangle"}
CORNERS = {"left": (2, 8), "right": (14, 8), "top": (8, 2), "bottom": (8, 14)}
HERE = Path(__file__).parent
RUNS = {"one device": (1, 1), "2 (data) × 4 (model)": (8, 4)}  # devices, those of each copy of the model


def main(folder: Path) -> None:
    pictures, codes, base = folder / "pictures", folder / "codes", folder / "base"
    draw_pictures(pictures)
    dalle_serve("train", "data", "folder", pictures, folder / "data", "--size", "16")
    of_base = ("--data", folder / "data", "--run", base, "--preset", "smoke")
    dalle_serve("train", "vqgan", *of_base)
    dalle_serve("train", "sampler", *of_base, "--set", "steps=2", "--set", "warm_up_steps=1")  # makes it a model
    dalle_serve("train", "data", "encode", folder / "data", codes, "--model", base / "model")
    losses = {name: train(folder / f"{count}", base, codes, count, parts) for name, (count, parts) in RUNS.items()}
    plot(losses, HERE / "mesh-loss.png")


def draw_pictures(folder: Path) -> None:
    """Two shapes in six colours at four places, and what they are called."""
    folder.mkdir(parents=True)
    for color, shape, place in itertools.product(COLORS, SHAPES, CORNERS):
        picture = Image.new("RGB", (32, 32), "white")
        x, y = CORNERS[place]
        getattr(ImageDraw.Draw(picture), SHAPES[shape])((x, y, x + 15, y + 15), fill=color)
        picture.save(folder / f"{color}-{shape}-{place}.png")
        (folder / f"{color}-{shape}-{place}.txt").write_text(f"a {color} {shape} at the {place}")


def train(run: Path, base: Path, codes: Path, devices: int, model_parallel: int) -> list[float]:
    """The loss of every step of a sampler with the base run's codec and tokenizer, on so many parts of the CPU."""
    shutil.copytree(base / "model", run / "model")
    recipe = {"steps": STEPS, "batch_size": 8, "model_parallel": model_parallel, "learning_rate": 3e-3}
    settings = [part for name, value in recipe.items() for part in ("--set", f"{name}={value}")]
    flags = f"--xla_force_host_platform_device_count={devices}"
    dalle_serve("train", "sampler", "--data", codes, "--run", run, "--preset", "smoke", *settings, XLA_FLAGS=flags)
    return [json.loads(line)["loss"] for line in (run / "dalle_bart" / "metrics.jsonl").read_text().splitlines()]


def dalle_serve(*arguments: str | Path, **environment: str) -> None:
    command = [sys.executable, "-c", "from deployments.cli.main import app; app()", *map(str, arguments)]
    subprocess.run(command, env=os.environ | environment, check=True, timeout=3600)


def plot(losses: dict[str, list[float]], file: Path) -> None:
    from matplotlib.figure import Figure

    (one, alone), (many, together) = ((name, np.array(curve)) for name, curve in losses.items())
    apart = np.abs(together - alone) / alone
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    steps = range(1, len(alone) + 1)
    above.plot(steps, alone, color="0.7", linewidth=5, label=one)
    above.plot(steps, together, color="C3", linewidth=1.2, label=many)
    above.set(ylabel="loss (nats a code)")
    above.legend()
    below.semilogy(steps, np.where(apart > 0, apart, np.nan), ".", color="C3", markersize=3)
    below.set(xlabel="step", ylabel="difference\nby the loss", ylim=(1e-8, 1e-5))
    figure.savefig(file, dpi=90)
    Image.open(file).convert("RGB").quantize(64).save(file, optimize=True)
    print(f"{file}: they differ by at most {apart.max():.2g} of the loss, at step {apart.argmax() + 1} of {len(alone)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
