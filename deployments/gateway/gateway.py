"""The ingress: takes requests over HTTP and from Python handles, and answers both from the same methods.

How images are drawn is in `image_request.py`. Serve gives every request an id, passes it on to the stages, and writes
it in each of their log lines.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ray import serve

from deployments.config import AppConfig
from deployments.errors import UrlsUnavailable
from deployments.gateway.admission import Admission
from deployments.gateway.answers import Answers, Asked, is_reply
from deployments.gateway.caller import Caller
from deployments.gateway.commons import CommonsClient
from deployments.gateway.image_request import ImageRequest
from deployments.gateway.image_store import ImageStore
from deployments.gateway.prompt_policy import PromptPolicy
from deployments.gateway.quotas import Quotas
from deployments.gateway.refine_request import RefineRequest
from deployments.gateway.replies import Event, completed_events
from deployments.gateway.served_model import ServedModel
from deployments.gateway.settings import changed
from deployments.gateway.translation import Translator
from deployments.gateway.usage import USAGE_COUNTS, Usage
from deployments.requests.parsing import parse
from deployments.requests.schemas import (
    REFINE,
    REFINING,
    DrawingRequest,
    EditRequest,
    GenerationRequest,
    RefinableRequest,
    Upload,
    VariationRequest,
)
from deployments.telemetry import degraded
from deployments.telemetry.metrics import MeasuredRequest, RequestMetrics
from model_core.cache import cache_folder
from model_core.errors import DalleServeError, InvalidValue, ModelNotFound
from model_core.pictures.content_credentials import CredentialSigner

logger = logging.getLogger("ray.serve")

OWNER = "dalle-serve"
DRAIN_POLL_S = 0.1


class Gateway:
    """Answers requests with the stages of each model.

    Args:
      stages: for each model's id its stages' handles, by stage name.
      build_api: makes the ASGI app that answers HTTP.
      commons: handle of what gateways share; None where there is but one gateway.

    Raises:
      DalleServeError: a model's files or the prompt policy cannot be read, nothing can be signed, or there
        is no such translator.
    """

    def __init__(
        self,
        config: AppConfig,
        stages: Mapping[str, Mapping[str, Any]],
        build_api: Callable[["Gateway"], Any],
        commons: Any | None = None,
    ):
        self.config = config
        self._build_api = build_api
        self.images = _image_store(config)
        self._signer = _signer(config)
        self._policy = PromptPolicy(config.safety.prompt_policy_file)
        self._translator = Translator(
            config.gateway.translator, config.gateway.translator_timeout_s, config.limits.max_prompt_chars
        )
        self._models = {
            model.id: ServedModel(
                model, stages[model.id], config.gateway.images_in_flight, config.cache.prompts_max_bytes
            )
            for model in config.models
        }
        self._commons = CommonsClient(commons, config.cache)
        self.quotas = Quotas(self._commons)
        self._usage = Usage(self._commons)
        self._metrics = RequestMetrics()
        refiners = [model.refining() for model in self._models.values() if model.refiner]
        self._models |= {model.id: model for model in refiners}
        steps = {model.id: model.refiner.config.max_pending_steps for model in refiners if model.refiner}
        self._admission = Admission(*_bounds(config), max_pending_steps=steps)
        self._answers = Answers(self._commons, self._admission)
        self._started = int(time.time())
        self._given = config  # what a `user_config` is laid over
        self._is_configured = False
        self._on_change: list[Callable[[AppConfig], None]] = []

    def __serve_build_asgi_app__(self) -> Any:
        """Called by Serve, after the constructor, for the app that answers HTTP."""
        return self._build_api(self)

    def on_change(self, listener: Callable[[AppConfig], None]) -> None:
        """Has a listener told of changed settings before they count; one that raises `DalleServeError` refuses them."""
        self._on_change.append(listener)

    async def reconfigure(self, user_config: Any) -> None:
        """Called by Serve with the `user_config`, at the start and where it has changed: see `settings.py`.

        Requests under way go on as they began. Later than at the start, one that is wrong changes nothing, and
        readiness says so.

        Raises:
          DalleServeError: it is wrong at the start.
        """
        try:
            config = changed(self._given, user_config or {})
            samplings = {model.id: self._models[model.id].sampling_with(model.sampling) for model in config.models}
            policy = self._policy
            if config.safety.prompt_policy_file != self.config.safety.prompt_policy_file:
                policy = PromptPolicy(config.safety.prompt_policy_file)
            for listener in self._on_change:
                listener(config)
        except DalleServeError as error:
            if not self._is_configured:
                raise
            degraded.failed("user_config", "it cannot be used, and the settings before it still hold", str(error))
            return
        self.config, self._policy = config, policy
        for model in self._models.values():
            model.sampling = samplings[model.refines or model.id]
        self._admission.limit(*_bounds(config))
        self._is_configured = True
        degraded.works("user_config")
        logger.info("the settings are now %s", user_config)

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

    async def draw(
        self, request: DrawingRequest, upload: Upload | None = None, caller: Caller | None = None
    ) -> dict[str, Any]:
        """Draws what a checked request asks for; the reply and the errors are those of `generate`.

        Args:
          caller: who asks; learns how he got his images. None is a program of the operator's own.
        """
        reply: dict[str, Any] = {}
        async with aclosing(self._answer(request, upload, caller or Caller())) as answers:
            async for answer in answers:
                reply = answer  # the last one
        return reply

    async def stream(
        self, request: DrawingRequest, upload: Upload | None = None, caller: Caller | None = None
    ) -> AsyncGenerator[Event, None]:
        """Draws what a checked request asks for; gives previews while it does, at the end each image, best first."""
        async with aclosing(self._answer(request, upload, caller or Caller())) as answers:
            async for answer in answers:
                for event in completed_events(answer) if is_reply(answer) else [answer]:
                    yield event

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

    async def usage(self, caller: Caller) -> dict[str, Any]:
        """What the caller's key has had, all gateways together, and what it may have just now."""
        since, models = await self._usage.of(caller.scope)
        total = sum((Counter(counts) for counts in models.values()), Counter(dict.fromkeys(USAGE_COUNTS, 0)))
        limit = None
        if (budget := caller.budget) is not None:
            limit = {
                "images_per_minute": budget.images_per_minute,
                "remaining": int(budget.left),
                "full_in_s": math.ceil(budget.full_in_s),
            }
        return {
            "object": "usage",
            "key": caller.name or None,
            "since": since,
            **{name: total[name] for name in USAGE_COUNTS},
            "models": models,
            "rate_limit": limit,
        }

    async def card(self, name: str) -> str | None:
        """What tells about a model, in Markdown; None where there is nothing.

        Raises:
          ModelNotFound: there is none of that name.
        """
        path = self._model(name).bundle.card
        return None if path is None else await asyncio.to_thread(path.read_text, "utf-8", "replace")

    def known_pictures(self, name: str) -> Path | None:
        """The file with pictures of what a model knows; None where there is none. Raises ModelNotFound."""
        return self._model(name).bundle.known_pictures

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
            "ready": all(state == "ready" for stage, state in states.items() if stage != "refiner")
            and not self._admission.is_closed,
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
        await self.quotas.rest()
        await self._usage.report()
        return {"pending_images": pending}

    async def drain(self) -> None:
        """Lets nobody in from now on, says so to who asks for readiness, and returns when all who are in are served."""
        self._admission.close()
        while not self._admission.is_idle:
            await asyncio.sleep(DRAIN_POLL_S)

    @contextmanager
    def _measured(self, request: DrawingRequest, caller: Caller) -> Iterator[tuple[MeasuredRequest, ServedModel]]:
        """Counts how the request ends, and logs what was drawn."""
        started = time.monotonic()
        with self._metrics.request(stream=request.stream) as measured:
            model = self._model(request.model)
            measured.model, measured.key = model.id, caller.name
            yield measured, model
            measured.cache = caller.cache
        facts = {"model": model.id, "num_drawn": measured.num_drawn, "seconds": round(time.monotonic() - started, 3)}
        logger.info("drew images %s", facts, extra=facts)

    async def _answer(
        self, request: DrawingRequest, upload: Upload | None, caller: Caller
    ) -> AsyncGenerator[Event, None]:
        """Previews, where they are asked for, and at the end the reply."""
        with self._measured(request, caller) as (measured, model):
            asked = await self._asked(request, upload, model, caller)
            async with aclosing(self._answers.to(asked)) as items:
                async for item in items:
                    if is_reply(item):
                        measured.num_drawn = 0 if caller.cache in ("hit", "joined") else request.num_drawn
                        measured.num_returned = len(item["data"])
                        self._count(caller, model, measured, item["usage"])
                        identifier = request.safety_identifier or request.user
                        item = item | ({"safety_identifier": identifier} if identifier else {})
                    elif item["type"] != "loading":
                        measured.previewed()
                    yield item

    def _count(self, caller: Caller, model: ServedModel, measured: MeasuredRequest, tokens: dict[str, Any]) -> None:
        """Notes what a key has had; of what was not drawn for it no codes."""
        drawn = measured.num_drawn > 0
        self._usage.add(
            caller.scope,
            model.id,
            requests=1,
            images_drawn=measured.num_drawn,
            images_returned=measured.num_returned,
            images_not_drawn_again=0 if drawn else measured.num_returned,
            input_tokens=tokens["input_tokens"],
            output_tokens=tokens["output_tokens"] if drawn else 0,
        )

    async def _asked(self, request: DrawingRequest, upload: Upload | None, model: ServedModel, caller: Caller) -> Asked:
        if request.num_drawn > request.n and not model.ranks_images:
            raise InvalidValue(f"{model.id} is served without a scorer to choose by: leave best_of out.", "best_of")
        if model.refines and not isinstance(request, RefinableRequest):
            raise InvalidValue(f"Variations are drawn, not refined: ask {model.refines} for them.", "model")
        if not model.refines and (wrong := sorted(REFINING & request.model_fields_set)):
            raise InvalidValue(f"{wrong[0]} goes with models that refine alone, such as {model.id}{REFINE}.", wrong[0])
        self._check_texts(request)
        translated, warning = await self._translator.translate(request)
        if translated is not request:
            self._check_texts(translated)
        is_batch = caller.asks_for_batch(request.priority)
        image_request = _kind_of(model)(
            translated,
            upload,
            model,
            self.config,
            self._signer,
            warning,
            may_keep=caller.may_keep,
            is_batch=is_batch,
        )
        return Asked(
            request=translated,
            upload=upload,
            image_request=image_request,
            caller=caller,
            is_batch=is_batch,
            model=model.fingerprint,
            config=self.config,
        )

    def _check_texts(self, request: DrawingRequest) -> None:
        more = request.prompts or () if isinstance(request, RefinableRequest) else ()
        for text in (request.prompt, *(prompt.text for prompt in more)):
            self._policy.check(text)

    def _model(self, name: str | None) -> ServedModel:
        if not name or (name not in self._models and self._is_alias(name)):
            name = self.config.default_model_id
        if name not in self._models:
            known = ", ".join(self._models)
            raise ModelNotFound(f"There is no model {name[:60]!a} here. Known are: {known}.")
        return self._models[name]

    def _is_alias(self, name: str) -> bool:
        if self.config.strict_models or name.endswith(REFINE):
            return False
        return any(fnmatchcase(name, pattern) for pattern in self.config.default_model_aliases)

    def _with_files(self, kind: type[DrawingRequest], request: dict[str, Any]) -> tuple[Any, Upload]:
        fields = dict(request)
        pictures, mask = fields.pop("image", None), fields.pop("mask", None) if kind is EditRequest else None
        pictures = pictures if isinstance(pictures, list) else [pictures]
        for name, file in [("image", picture) for picture in pictures] + ([("mask", mask)] if mask is not None else []):
            if not isinstance(file, bytes):
                raise InvalidValue(f"{name} must be the bytes of a picture file, got {type(file).__name__}.", name)
        return parse(kind, fields, self.config.limits), Upload(images=pictures, mask=mask)


def _kind_of(model: ServedModel) -> type[ImageRequest]:
    return RefineRequest if model.refines else ImageRequest


def _bounds(config: AppConfig) -> tuple[int, int]:
    """How many images may be pending, and how many of batch work: the largest request among them."""
    return config.gateway.max_pending_images, max(config.gateway.max_pending_batch_images, config.limits.max_best_of)


def _signer(config: AppConfig) -> CredentialSigner | None:
    """What signs the files, where the operator has a certificate."""
    files = config.files
    if files.c2pa_certificates is None or files.c2pa_key is None:
        return None
    certificates, key = Path(files.c2pa_certificates).expanduser(), Path(files.c2pa_key).expanduser()
    return CredentialSigner(certificates, key, files.c2pa_timestamp_url)


def _image_store(config: AppConfig) -> ImageStore | None:
    """The files behind URLs; None where other gateways could not find them."""
    files = config.files
    if files.url_folder is None and config.gateway.max_replicas > 1:
        return None
    folder = Path(files.url_folder).expanduser() if files.url_folder else cache_folder() / "images"
    return ImageStore(folder, seconds=60 * files.url_minutes, max_bytes=files.url_max_bytes)
