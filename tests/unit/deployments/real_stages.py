"""A gateway with the stages themselves behind it, all in this process: for tests of what is served, without Ray."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.api.routes import build_api
from deployments.config import AppConfig
from deployments.gateway.gateway import Gateway
from deployments.stages import clip_scorer, image_decoder, text_encoder, token_sampler
from model_core.sampler.rows import Rows
from tests.unit.deployments.fakes import FakeResponse, FakeStream

STAGES = {
    "text_encoder": text_encoder.TextEncoderDeployment,
    "token_sampler": token_sampler.TokenSamplerDeployment,
    "image_decoder": image_decoder.ImageDecoderDeployment,
    "clip_scorer": clip_scorer.ClipScorerDeployment,
}


class Handle:
    """A stage of this process, called as through a handle of Serve's."""

    def __init__(self, stage: Any):
        self._stage = stage

    def options(self, *, stream: bool) -> "Handle":
        return self

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._stage, verb)
        if verb == "sample":
            return SimpleNamespace(remote=lambda *args, **options: FakeStream(call(*args, **options)))
        return SimpleNamespace(remote=lambda *args: FakeResponse(call, args))


def one_by_one(compute: Callable[..., list[Any]], *_: Any) -> Callable[..., Awaitable[Any]]:
    """In place of Serve's batches, which need a replica."""

    async def compute_one(*args: Any) -> Any:
        return compute(*([arg] for arg in args))[0]

    return compute_one


@contextmanager
def served(config: AppConfig) -> Iterator[Gateway]:
    """The gateway of these models. What their samplers can run is compiled when it is asked for, not all before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rows, "warm_up", lambda rows: None)
        for module in (text_encoder, image_decoder, clip_scorer):
            patch.setattr(module, "batched", one_by_one)
        stages: dict[str, dict[str, Any]] = {}
        try:
            for model in config.models:
                of_model = stages.setdefault(model.id, {})
                for name, settings in model.stages.items():
                    of_model[name] = STAGES[name](model.location, settings)  # type: ignore[arg-type]  each has its own settings
            handles = {
                model: {name: Handle(stage) for name, stage in of_model.items()} for model, of_model in stages.items()
            }
            yield Gateway(config, handles, build_api)
        finally:
            for of_model in stages.values():
                if "token_sampler" in of_model:
                    of_model["token_sampler"].__del__()
