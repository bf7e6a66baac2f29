"""One stage of several models, a few of which are loaded at a time: the stage of each is what it would be by itself."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from deployments.errors import InvalidSettings
from deployments.stages.residents import Residents


class OnDemandStage:
    """Passes each call on to the stage of the model that it is for, once that is loaded.

    Args:
      stage: the class of the stage, and its name in settings.
      models: of each model its name to load by, and the stage's settings.
      max_bytes: what those that are loaded may take.

    Raises:
      DalleServeError: a model's files are not there.
      InvalidSettings: one model alone takes more.
    """

    def __init__(self, stage: type, name: str, models: Mapping[str, tuple[str, Any]], max_bytes: int):
        from model_core.inspection import stage_bytes

        def load(model: str) -> Any:
            return stage(*models[model])

        sizes = {}
        for model, (location, config) in models.items():
            kept = {"dtype": config.dtype, "slots": getattr(config, "slots", 0)}
            sizes[model] = stage_bytes(name, location, scorer=getattr(config, "source", None), **kept)
        try:
            self._residents = Residents(load, _unload, sizes, max_bytes)
        except ValueError as error:
            raise InvalidSettings(f"on_demand.{name}.max_memory_bytes: {error}.") from None

    async def load(self, model: str) -> None:
        """Returns once a model is loaded, which it stays until others need its room."""
        async with self._residents.use(model):
            pass

    async def encode(self, model: str, *args: Any) -> Any:
        """As `TextEncoderDeployment.encode`, or `ImageDecoderDeployment.encode`."""
        async with self._residents.use(model) as stage:
            return await stage.encode(*args)

    async def sample(self, model: str, *args: Any, **options: Any) -> AsyncGenerator[Any, None]:
        """As `TokenSamplerDeployment.sample`."""
        async with self._residents.use(model) as stage, aclosing(stage.sample(*args, **options)) as items:
            async for item in items:
                yield item

    async def decode(self, model: str, *args: Any) -> Any:
        """As `ImageDecoderDeployment.decode`."""
        async with self._residents.use(model) as stage:
            return await stage.decode(*args)

    async def score(self, model: str, *args: Any) -> Any:
        """As `ClipScorerDeployment.score`."""
        async with self._residents.use(model) as stage:
            return await stage.score(*args)

    async def tell(self, model: str, *args: Any) -> Any:
        """As `ClipScorerDeployment.tell`."""
        async with self._residents.use(model) as stage:
            return await stage.tell(*args)

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica where a stage that is loaded is not well."""
        for stage in self._residents.things.values():
            stage.check_health()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve about once a second; has the stages that are loaded say what they measure."""
        for stage in self._residents.things.values():
            if record := getattr(stage, "record_autoscaling_stats", None):
                await record()
        return {}


def _unload(stage: Any) -> None:
    """Ends a stage's threads."""
    if end := getattr(stage, "__del__", None):
        end()
