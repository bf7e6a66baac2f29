"""The ingress: takes requests over HTTP and from Python handles, and answers both from the same methods.

How images are drawn is in `image_request.py`. Serve gives every request an id, passes it on to the stages, and writes
it in each of their log lines.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any

from ray import serve

from deployments.config import AppConfig
from deployments.errors import UrlsUnavailable
from deployments.gateway.admission import Admission
from deployments.gateway.image_request import ImageRequest
from deployments.gateway.image_store import ImageStore
from deployments.gateway.prompt_policy import PromptPolicy
from deployments.gateway.replies import Event
from deployments.gateway.served_model import ServedModel
from deployments.requests.parsing import parse
from deployments.requests.schemas import DrawingRequest, EditRequest, GenerationRequest, Upload, VariationRequest
from deployments.telemetry import degraded
from deployments.telemetry.metrics import MeasuredRequest, RequestMetrics
from model_core.cache import cache_folder
from model_core.errors import InvalidValue, ModelNotFound

logger = logging.getLogger("ray.serve")

OWNER = "dalle-serve"
DRAIN_POLL_S = 0.1


class Gateway:
    """Answers requests with the stages of each model.

    Args:
      stages: for each model's id its stages' handles, by stage name.
      build_api: makes the ASGI app that answers HTTP.

    Raises:
      DalleServeError: a model's files or the prompt policy cannot be read.
    """

    def __init__(
        self,
        config: AppConfig,
        stages: Mapping[str, Mapping[str, Any]],
        build_api: Callable[["Gateway"], Any],
    ):
        self.config = config
        self._build_api = build_api
        self.images = _image_store(config)
        self._policy = PromptPolicy(config.safety.prompt_policy_file)
        self._models = {
            model.id: ServedModel(model, stages[model.id], config.gateway.images_in_flight) for model in config.models
        }
        self._metrics = RequestMetrics()
        self._admission = Admission(config.gateway.max_pending_images)
        self._started = int(time.time())

    def __serve_build_asgi_app__(self) -> Any:
        """Called by Serve, after the constructor, for the app that answers HTTP."""
        return self._build_api(self)

    async def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        """Draws images.

        Args:
          request: the fields of `POST /v1/images/generations`.

        Returns:
          created, output_format, size, background, quality, usage, and data: for each image, best first, `image` (the
          bytes of a file), `seed` (of this image: asking for it with n = 1 draws it again), `clip_score` (None where
          images are not ranked) and `revised_prompt` (as the model reads it).

        Raises:
          InvalidValue, ModelNotFound, Overloaded, DeadlineExceeded, StageFailed, StageUnavailable: see
            `deployments.errors`.
        """
        return await self.draw(parse(GenerationRequest, request, self.config.limits))

    async def edit(self, request: dict[str, Any]) -> dict[str, Any]:
        """Draws on a picture; `image` (bytes, or a list) and `mask` (bytes) are among the fields of the request."""
        return await self.draw(*self._with_files(EditRequest, request))

    async def vary(self, request: dict[str, Any]) -> dict[str, Any]:
        """Draws variations of a picture; `image` (bytes) is among the fields of the request."""
        return await self.draw(*self._with_files(VariationRequest, request))

    async def generate_stream(self, request: dict[str, Any]) -> AsyncGenerator[Event, None]:
        """Draws as `generate` does; gives an event for each preview and each finished image, best first.

        To be called with `handle.options(stream=True)`.
        """
        streamed = parse(GenerationRequest, request | {"stream": True, "stream_multiple": True}, self.config.limits)
        async with aclosing(self.stream(streamed)) as events:
            async for event in events:
                yield event

    async def draw(self, request: DrawingRequest, upload: Upload | None = None) -> dict[str, Any]:
        """Draws what a checked request asks for; the reply and the errors are those of `generate`."""
        with self._measured(request) as (measured, model):
            image_request = self._image_request(request, upload, model)
            with self._admission.admit(request.num_drawn):
                reply = await image_request.draw()
            measured.num_drawn, measured.num_returned = request.num_drawn, len(reply["data"])
        return reply

    async def stream(self, request: DrawingRequest, upload: Upload | None = None) -> AsyncGenerator[Event, None]:
        """Draws what a checked request asks for, and gives events while it does; see `ImageRequest.stream`."""
        with self._measured(request) as (measured, model):
            image_request = self._image_request(request, upload, model)
            with self._admission.admit(request.num_drawn):
                async with aclosing(image_request.stream()) as events:
                    async for event in events:
                        if event["type"] == "partial_image":
                            measured.previewed()
                        yield event
            measured.num_drawn, measured.num_returned = request.num_drawn, request.n

    def list_models(self) -> list[dict[str, Any]]:
        """Describes every model that is served, as OpenAI's model list does, and a little more."""
        return [self.describe_model(model_id) for model_id in self._models]

    def describe_model(self, name: str) -> dict[str, Any]:
        """Describes one model, also by an alias.

        Raises:
          ModelNotFound: there is none of that name.
        """
        limits = {"max_n": self.config.limits.max_n, "max_best_of": self.config.limits.max_best_of}
        return self._model(name).describe(self._started, OWNER) | limits

    async def card(self, name: str) -> str | None:
        """What tells about a model, in Markdown; None where there is nothing.

        Raises:
          ModelNotFound: there is none of that name.
        """
        path = self._model(name).bundle.card
        return None if path is None else await asyncio.to_thread(path.read_text, "utf-8", "replace")

    async def readiness(self) -> dict[str, Any]:
        """Says how far the default model's stages are; a replica runs only once its model is loaded and compiled.

        A by-product that fails, such as image URLs, is a warning: the service draws, and should be sent requests.
        """
        status = await asyncio.to_thread(serve.status)
        deployments = status.applications[serve.get_replica_context().app_name].deployments
        (model,) = (model for model in self.config.models if model.id == self.config.default_model_id)
        states = {}
        for stage, settings in model.stages.items():
            deployment = deployments[model.deployment_name(stage)]
            warm = "RUNNING" in deployment.replica_states  # only states that some replica is in are listed
            may_be_away = settings.min_replicas == 0
            states[stage] = "ready" if warm or may_be_away else deployment.status.value.lower()
        if self.images:
            with suppress(UrlsUnavailable):
                await asyncio.to_thread(self.images.check)
        state = {
            "ready": set(states.values()) == {"ready"} and not self._admission.is_closed,
            "model": model.id,
            "stages": states,
            "pending_images": self._admission.pending_images,
            "seconds_an_image": round(self._admission.seconds_an_image, 3),
        }
        return state | ({"warnings": warnings} if (warnings := degraded.warnings()) else {})

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve about once a second: how many images are pending, for metrics and scaling policies."""
        pending = self._admission.pending_images
        self._metrics.pending(pending)
        self._metrics.degraded(degraded.reasons())
        return {"pending_images": pending}

    async def drain(self) -> None:
        """Lets nobody in from now on, says so to who asks for readiness, and returns when all who are in are served."""
        self._admission.close()
        while self._admission.pending_images:
            await asyncio.sleep(DRAIN_POLL_S)

    @contextmanager
    def _measured(self, request: DrawingRequest) -> Iterator[tuple[MeasuredRequest, ServedModel]]:
        """Counts how the request ends, and logs what was drawn."""
        started = time.monotonic()
        with self._metrics.request(stream=request.stream) as measured:
            model = self._model(request.model)
            measured.model = model.id
            yield measured, model
        facts = {"model": model.id, "num_drawn": request.num_drawn, "seconds": round(time.monotonic() - started, 3)}
        logger.info("drew images %s", facts, extra=facts)

    def _image_request(self, request: DrawingRequest, upload: Upload | None, model: ServedModel) -> ImageRequest:
        if request.num_drawn > request.n and not model.ranks_images:
            raise InvalidValue(f"{model.id} is served without a scorer to choose by: leave best_of out.", "best_of")
        self._policy.check(request.prompt)
        return ImageRequest(request, upload, model, self.config)

    def _model(self, name: str | None) -> ServedModel:
        if not name or name in self.config.default_model_aliases:
            name = self.config.default_model_id
        if name not in self._models:
            known = ", ".join(self._models)
            raise ModelNotFound(f"There is no model {name[:60]!a} here. Known are: {known}.")
        return self._models[name]

    def _with_files(self, kind: type[DrawingRequest], request: dict[str, Any]) -> tuple[Any, Upload]:
        fields = dict(request)
        pictures, mask = fields.pop("image", None), fields.pop("mask", None) if kind is EditRequest else None
        pictures = pictures if isinstance(pictures, list) else [pictures]
        for name, file in [("image", picture) for picture in pictures] + ([("mask", mask)] if mask is not None else []):
            if not isinstance(file, bytes):
                raise InvalidValue(f"{name} must be the bytes of a picture file, got {type(file).__name__}.", name)
        return parse(kind, fields, self.config.limits), Upload(images=pictures, mask=mask)


def _image_store(config: AppConfig) -> ImageStore | None:
    """The files behind URLs; None where other gateways could not find them."""
    files = config.files
    if files.url_folder is None and config.gateway.max_replicas > 1:
        return None
    folder = Path(files.url_folder).expanduser() if files.url_folder else cache_folder() / "images"
    return ImageStore(folder, seconds=60 * files.url_minutes, max_bytes=files.url_max_bytes)
