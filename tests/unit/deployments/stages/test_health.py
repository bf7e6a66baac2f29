"""A stage that computed what is not finite is not well, and Serve replaces it."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray import serve

from deployments.config import ClipScorerConfig, ImageDecoderConfig, TextEncoderConfig
from deployments.stages import batching, clip_scorer, image_decoder, text_encoder
from deployments.stages.health import Health
from model_core import bundles, stages
from model_core.errors import NotFinite

PIXELS = np.zeros((2, 2, 3), np.uint8)


def test_what_it_watches_is_as_before_until_it_is_not_finite():
    health = Health()

    def divide(one: float, other: float) -> float:
        if one == other == 0:
            raise NotFinite("0 / 0 is no number.")
        return one / other

    watched = health.watched(divide)
    assert watched(6, 3) == 2
    with pytest.raises(ZeroDivisionError):
        watched(1, 0)
    health.check()
    with pytest.raises(NotFinite):
        watched(0, 0)
    assert watched(6, 3) == 2
    for _ in range(2):  # it does not recover by itself
        with pytest.raises(NotFinite, match="0 / 0"):
            health.check()


class BrokenStage:
    """A stage whose numbers are NaN once it is warm."""

    batch_size = 1

    def __init__(self, *_: Any, **__: Any):
        pass

    def warm_up(self) -> None:
        pass

    def compute(self, *_: Any) -> Any:
        raise NotFinite("NaN")

    encode = decode = score = compute


@pytest.mark.parametrize(
    ("kind", "config", "call"),
    [
        (text_encoder.TextEncoderDeployment, TextEncoderConfig(), lambda stage: stage.encode("a", "")),
        (image_decoder.ImageDecoderDeployment, ImageDecoderConfig(), lambda stage: stage.decode(np.zeros(4, np.int32))),
        (image_decoder.ImageDecoderDeployment, ImageDecoderConfig(), lambda stage: stage.encode(PIXELS)),
        (clip_scorer.ClipScorerDeployment, ClipScorerConfig(), lambda stage: stage.score("a", PIXELS)),
    ],
    ids=["text encoder", "image decoder", "image decoder, encoding", "scorer"],
)
def test_a_stage_fails_its_health_check_once_it_was_not_finite(
    kind: Any, config: Any, call: Any, monkeypatch: pytest.MonkeyPatch
):
    for name in ("TextEncoder", "ImageDecoder", "ImageScorer"):
        monkeypatch.setattr(stages, name, BrokenStage)
    folders = SimpleNamespace(text=Path(), codec=Path(), known_prompts=(), scorer=Path())
    monkeypatch.setattr(bundles, "resolve", lambda model, scorer=None: folders)

    def unbatched(**_: Any) -> Any:
        async def together(compute: Any, *items: Any) -> Any:
            return (await compute(*([item] for item in items)))[0]

        return lambda compute: lambda *items: together(compute, *items)

    monkeypatch.setattr(serve, "batch", unbatched)
    assert batching.serve is serve
    stage = kind("model", config)
    stage.check_health()
    with pytest.raises(NotFinite):
        asyncio.run(call(stage))
    with pytest.raises(NotFinite, match="NaN"):
        stage.check_health()
