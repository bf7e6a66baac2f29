"""What the gateway's pipeline relies on Ray for: values that travel once, and stages that come back."""

import asyncio
import base64
from typing import Any

import httpx
import numpy as np

from deployments.config import APP_NAME
from deployments.local import LocalService
from model_core.families.conditions import Grid
from model_core.pictures.images import read_image
from model_core.sampler.sequence import Sampling
from tests.serve.conftest import SAMPLING


class Noted:
    """A handle that notes what its streams are given."""

    def __init__(self, handle: Any):
        self._sampler = handle.options(stream=True)
        self.given: list[tuple[Any, ...]] = []

    def options(self, **_: Any) -> "Noted":
        return self

    @property
    def sample(self) -> "Noted":
        return self

    def remote(self, *args: Any, **options: Any) -> Any:
        self.given.append(args)
        return self._sampler.sample.remote(*args, **options)


def test_eight_images_of_a_request_share_one_text(service: LocalService, http: httpx.Client):
    import ray
    from ray import serve

    from deployments.flow.pipeline import StagePipeline

    names = ("text_encoder", "token_sampler", "image_decoder", "clip_scorer")
    stages: dict[str, Any] = {name: serve.get_deployment_handle(f"tiny.{name}", APP_NAME) for name in names}
    sampler = stages["token_sampler"] = Noted(stages["token_sampler"])

    async def draw() -> list[Any]:
        pipeline = StagePipeline(stages, Grid(8, 8, 64), 8, images_per_call=4, finished_together=4)
        encoded = await pipeline.encode_prompt("an avocado", "", timeout_s=60)
        assert encoded.uncondition is not None
        for condition in (encoded.condition, encoded.uncondition):
            assert "key" in vars(condition)  # made by the encoder: the sampler does not make it again
        options: Any = {"n": 8, "best_of": 8, "seeds": range(8), "sampling": Sampling(**SAMPLING), "timeout_s": 120.0}
        return await pipeline.generate("an avocado", encoded, **options)

    drawn = asyncio.run(draw())
    assert len(sampler.given) == 2 and len({args[0] for args in sampler.given}) == 1
    assert all(isinstance(args[0], ray.ObjectRef) for args in sampler.given)
    fields = {"prompt": "an avocado", "n": 8, "seed": 0, "response_format": "b64_json"}
    over_http = http.post("/v1/images/generations", json=fields).json()["data"]
    assert [image["seed"] for image in over_http] == [image.seed for image in drawn]
    for image, other in zip(drawn, over_http, strict=True):
        np.testing.assert_array_equal(image.image, read_image(base64.b64decode(other["b64_json"])))


def test_a_stage_that_has_gone_away_is_woken(service: LocalService):
    from ray import serve

    from deployments.flow.waking import wake

    @serve.deployment(
        name="sleeper",
        ray_actor_options={"num_cpus": 0},
        autoscaling_config={"min_replicas": 0, "initial_replicas": 0, "max_replicas": 1, "metrics_interval_s": 1},
    )
    class Sleeper:
        pass

    def states() -> dict[str, int]:
        return serve.status().applications["sleepy"].deployments["sleeper"].replica_states

    handle = serve.run(Sleeper.bind(), name="sleepy", route_prefix=None)
    try:
        assert not states()
        asyncio.run(wake(handle, 120))
        assert states() == {"RUNNING": 1}
    finally:
        serve.delete("sleepy")
