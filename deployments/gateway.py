"""The ingress: takes requests over HTTP and from Python handles, and answers both from the same method.

Knows nothing of how images are drawn (`pipeline.py`) or of routes (`api/`). Serve gives every request an id, passes it
on to the stages, and writes it in each of their log lines.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from ray import serve

from deployments.admission import Admission
from deployments.api.routes import build_api
from deployments.api.schemas import GenerationRequest, check_size, image_fields, parse_request
from deployments.config import AppConfig
from deployments.pipeline import SEEDS, Pipeline
from deployments.token_sampler import Sampling
from model_core import bundles, images
from model_core.errors import InvalidValue, ModelNotFound

logger = logging.getLogger("ray.serve")


class Gateway:
    """Answers requests with the stages of each model.

    Args:
      config: of the whole service.
      stages: for each model's id its stages' handles, by stage name.
    """

    def __init__(self, config: AppConfig, stages: Mapping[str, Mapping[str, Any]]):
        self.limits = config.limits
        self._config = config
        self._models = {model.id: model for model in config.models}
        self._bundles = {model.id: bundles.resolve(model.location) for model in config.models}
        self._pipelines = {
            model_id: Pipeline(handles, config.gateway.images_in_flight, model_id)
            for model_id, handles in stages.items()
        }
        self._admission = Admission(config.gateway.max_pending_images)
        self._started = int(time.time())

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve, after the constructor, for the app that answers HTTP."""
        return build_api(self)

    async def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        """Draws images.

        Args:
          request: the fields of `POST /v1/images/generations`.

        Returns:
          created, output_format, size, background, quality, and data: for each image, best first, `image` (the bytes of
          a PNG file), `seed` (of this image: asking for it with n = 1 draws it again) and `clip_score` (None where
          images are not ranked).

        Raises:
          InvalidValue, ModelNotFound, Overloaded, DeadlineExceeded, StageUnavailable: see `deployments.errors`.
        """
        asked = parse_request(request, self.limits)
        model_id = self._model_id(asked.model)
        bundle = self._bundles[model_id]
        size = f"{bundle.size}x{bundle.size}"
        check_size(asked.size, size)
        self._check_rankable(asked, model_id)
        seed = asked.seed if asked.seed is not None else secrets.randbelow(SEEDS)
        started = time.monotonic()
        with self._admission.admit(asked.num_drawn):
            drawn = await self._pipelines[model_id].generate(
                asked.prompt,
                n=asked.n,
                best_of=asked.num_drawn,
                seeds=[(seed + i) % SEEDS for i in range(asked.num_drawn)],
                negative_prompt=asked.negative_prompt,
                sampling=_sampling(asked, bundle.sampling),
                timeout_s=self._config.gateway.request_timeout_s,
            )
        files = await asyncio.to_thread(lambda: [images.encode_png(image.image) for image in drawn])
        logger.info("drew %d images with %s in %.2f s", asked.num_drawn, model_id, time.monotonic() - started)
        return {
            "created": int(time.time()),
            "data": [image_fields(image, png) for image, png in zip(drawn, files, strict=True)],
            "output_format": "png",
            "size": size,
            "background": "opaque",
            "quality": "high",  # the one there is
        }

    def list_models(self) -> list[dict[str, Any]]:
        """Describes every model that is served, as OpenAI's model list does, and a little more."""
        return [self.describe_model(model_id) for model_id in self._models]

    def describe_model(self, name: str) -> dict[str, Any]:
        """Describes one model, also by an alias.

        Raises:
          ModelNotFound: there is none of that name.
        """
        model_id = self._model_id(name)
        bundle = self._bundles[model_id]
        return {
            "id": model_id,
            "object": "model",
            "created": self._started,
            "owned_by": "dalle-serve",
            "size": f"{bundle.size}x{bundle.size}",
            "licence": bundle.licence,
            "description": bundle.description,
            "ranks_images": "clip_scorer" in self._models[model_id].stages,
        }

    async def readiness(self) -> dict[str, Any]:
        """Says how far the default model's stages are; a replica runs only once its model is loaded and compiled."""
        status = await asyncio.to_thread(serve.status)
        deployments = status.applications[serve.get_replica_context().app_name].deployments
        model = self._models[self._config.default_model_id]
        states = {}
        for stage, settings in model.stages.items():
            deployment = deployments[model.deployment_name(stage)]
            warm = "RUNNING" in deployment.replica_states  # only states that some replica is in are listed
            may_be_away = settings.min_replicas == 0
            states[stage] = "ready" if warm or may_be_away else deployment.status.value.lower()
        return {
            "ready": set(states.values()) == {"ready"},
            "model": model.id,
            "stages": states,
            "pending_images": self._admission.pending_images,
        }

    def _model_id(self, name: str | None) -> str:
        if name is None or name == "" or name in self._config.default_model_aliases:
            return self._config.default_model_id
        if name not in self._models:
            known = ", ".join(self._models)
            raise ModelNotFound(f"There is no model {name[:60]!a} here. Known are: {known}.")
        return name

    def _check_rankable(self, asked: GenerationRequest, model_id: str) -> None:
        if asked.num_drawn > asked.n and "clip_scorer" not in self._models[model_id].stages:
            raise InvalidValue(f"{model_id} is served without a scorer to choose by: leave best_of out.", "best_of")


def _sampling(asked: GenerationRequest, defaults: Mapping[str, Any]) -> Sampling:
    """The request's sampling parameters, the model's own where it gives none."""
    names = ("guidance_scale", "temperature", "top_k", "top_p")
    given = {name: getattr(asked, name) for name in names}
    return Sampling(**{name: defaults[name] if value is None else value for name, value in given.items()})
