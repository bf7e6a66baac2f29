"""The service with stages that compute nothing: what is left is what the control plane costs.

    python -m tests.fleet.recorded --port 8000 --gateways 1 --samplers 1 --seconds-an-image 0

Gateway, proxy, handles and settings are the real ones. The stages give back what the shipped model drew once, in the
sizes and types that it has. `python -m loadtest.fleet` drives it.
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np

PROMPT = "an avocado"
IMAGES = 8
RECORDING = "DALLE_SERVE_RECORDING"  # variables that the replicas inherit
SECONDS = "DALLE_SERVE_RECORDED_SECONDS"


def record(path: Path) -> None:
    """Draws some images with the shipped model, and keeps all that its stages gave."""
    from deployments.local import set_environment

    set_environment()
    from model_core import bundles, stages
    from model_core.pipeline import Pipeline

    bundle = bundles.resolve("emoji")
    (text,) = stages.TextEncoder(bundle.text).encode([(PROMPT, None)])
    drawn = Pipeline.from_model("emoji").generate(PROMPT, n=IMAGES, seed=0)
    np.savez(
        path,
        values=text.condition.values,
        mask=text.condition.mask,
        num_tokens=text.num_tokens,
        codes=np.stack([image.codes for image in drawn]),
        images=np.stack([image.image for image in drawn]),
        scores=np.array([image.score for image in drawn], np.float32),
    )


class Recorded:
    """What all four stages share: the recording."""

    def __init__(self, model: str, config: Any):
        with np.load(os.environ[RECORDING]) as recording:
            self._recording = dict(recording)

    def check_health(self) -> None:
        """Well."""

    def _place_of(self, codes: np.ndarray) -> int:
        """Which of the recorded images has these codes; the first for what is half drawn."""
        return int((self._recording["codes"] == codes).all(axis=1).argmax())


class TextEncoder(Recorded):
    """Says of each prompt what was recorded of one."""

    async def encode(self, prompt: str, negative_prompt: str | None) -> Any:
        """As the stage's."""
        from model_core.families.conditions import Condition, EncodedPrompt

        condition = Condition(self._recording["values"], self._recording["mask"])
        _ = condition.key
        uncondition = None if negative_prompt is None else condition
        return EncodedPrompt(condition, uncondition, prompt, int(self._recording["num_tokens"]), 0)


class TokenSampler(Recorded):
    """Gives recorded codes, after so many seconds in a slot; seeds say which."""

    def __init__(self, model: str, config: Any):
        super().__init__(model, config)
        self._slots = asyncio.Semaphore(config.slots)
        self._seconds = float(os.environ[SECONDS])

    async def sample(
        self, conditions: Any, seeds: tuple[int, ...], sampling: Any, *, rows: list[tuple[int, ...]], **_: Any
    ) -> AsyncGenerator[list[tuple[int, np.ndarray]], None]:
        """As the stage's."""
        from deployments.stages.together import together

        async with aclosing(together([self._draw(*each) for each in zip(seeds, rows, strict=True)])) as news:
            async for items in news:
                yield items

    async def _draw(self, seed: int, rows: tuple[int, ...]) -> AsyncGenerator[np.ndarray, None]:
        codes = self._recording["codes"][seed % IMAGES]
        columns = int(codes.size**0.5)
        async with self._slots:
            for row in rows:
                await asyncio.sleep(self._seconds / (len(rows) + 1))
                yield np.where(np.arange(codes.size) < row * columns, codes, np.int32(-1))
            await asyncio.sleep(self._seconds / (len(rows) + 1))
        yield codes


class ImageDecoder(Recorded):
    """Gives the pixels of recorded codes."""

    async def decode(self, codes: np.ndarray) -> np.ndarray:
        """As the stage's."""
        return np.stack([self._recording["images"][self._place_of(each)] for each in codes])


class ClipScorer(Recorded):
    """Gives recorded scores."""

    async def score(self, prompt: str, images: np.ndarray) -> list[float]:
        """As the stage's."""
        return [float(self._recording["scores"][int(image[0, 0, 0]) % IMAGES]) for image in images]


STAGES = {
    "text_encoder": TextEncoder,
    "token_sampler": TokenSampler,
    "image_decoder": ImageDecoder,
    "clip_scorer": ClipScorer,
}


def config_of(asked: argparse.Namespace) -> Any:
    """So many replicas of each, whatever the load; room for it all."""
    from deployments.config import AppConfig

    def fixed(replicas: int, **more: Any) -> dict[str, Any]:
        return {"min_replicas": replicas, "max_replicas": replicas, "num_cpus": 0.01} | more

    sampler: dict[str, Any] = {"images_per_call": asked.images_per_call}
    sampler |= {"slots": asked.slots, "max_ongoing_requests": max(256, asked.slots)}
    model = {"id": "emoji", "token_sampler": fixed(asked.samplers, **sampler)}
    model |= {name: fixed(1, max_ongoing_requests=256) for name in STAGES if name != "token_sampler"}
    gateway = fixed(asked.gateways, max_pending_images=4096, images_in_flight=asked.images_in_flight)
    return AppConfig.model_validate({"models": [model], "gateway": gateway})


def main() -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--samplers", type=int, default=1)
    parser.add_argument("--slots", type=int, default=256, help="images that a sampler draws at a time")
    parser.add_argument("--images-in-flight", type=int, default=10, help="of one request")
    parser.add_argument("--images-per-call", type=int, help="of one request; else as the service does by itself")
    parser.add_argument("--seconds-an-image", type=float, default=0.0, help="that an image stays in a slot")
    parser.add_argument("--recording", type=Path, default=Path("out/fleet/recording.npz"), help="made where missing")
    parser.add_argument("--record", action="store_true", help="make it, and do no more")
    asked = parser.parse_args()
    if asked.record:
        asked.recording.parent.mkdir(parents=True, exist_ok=True)
        record(asked.recording)
        return
    if not asked.recording.exists():  # elsewhere: a process with JAX is not to be forked
        subprocess.run(
            [sys.executable, "-m", "tests.fleet.recorded", "--record", "--recording", asked.recording], check=True
        )
    os.environ |= {RECORDING: str(asked.recording.resolve()), SECONDS: str(asked.seconds_an_image)}
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    from deployments.local import LocalService, set_environment
    from deployments.stopping import stoppable

    set_environment()
    from deployments import app

    app.STAGES.update(STAGES)  # pyright: ignore
    with stoppable(), LocalService(config_of(asked), port=asked.port), contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    # Under its own name, not as __main__, which replicas could not import.
    from tests.fleet import recorded

    recorded.main()
