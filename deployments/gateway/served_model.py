"""One model as the gateway knows it: its files, its defaults and its stages."""

import asyncio
import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from deployments.config import ModelConfig, TokenSamplerConfig
from deployments.errors import InvalidSettings
from deployments.flow.calls import OfModel, finite, result, retried
from deployments.flow.pipeline import StagePipeline
from deployments.flow.refinement import RefinerPipeline
from deployments.requests.schemas import REFINE
from model_core import bundles, codecs, families
from model_core.errors import CorruptCheckpoint, InvalidValue, UnsupportedConfig
from model_core.families.conditions import common_grid
from model_core.refine.values import grid_of
from model_core.sampler.sequence import Sampling

DECODERS = 2  # uploads decoded at a time: each may take a hundred MB while it is


class ServedModel:
    """A model, its files resolved, and its pipeline.

    Attributes:
      vocabulary: the words that it was taught, where its card says so.
      decoding_uploads: to be held while an upload is decoded.
      sampling: how its images are drawn where a request does not say; may be replaced by another.
      refiner: what refines its pictures; None where nothing does.
      refines: the id of the model whose refiner is meant; None where it is the model itself.
      can_be_guided: whether it was trained with a text that says nothing, for guidance to lead away from.

    Args:
      images_in_flight: how many images of one request are in the stages at a time.
      prompts_max_bytes: how much the encoded prompts that are kept may take.

    Raises:
      ModelNotFound, CorruptCheckpoint: its files are not there, or not whole.
      InvalidSettings: its `sampling` makes no sense, or its pictures cannot be refined as the settings have it.
    """

    def __init__(
        self, config: ModelConfig, stages: Mapping[str, Any], images_in_flight: int, prompts_max_bytes: int = 0
    ):
        self.id = config.id
        if config.on_demand:
            stages = {name: OfModel(stage, config.id) for name, stage in stages.items()}
        self.bundle = bundles.resolve(config.location)
        try:
            Sampling(**self.bundle.sampling)
        except InvalidValue as error:  # else every request that leaves it to the model would be called wrong
            raise CorruptCheckpoint(f"{config.location}: of the sampling in its model.json, {error}") from error
        self.sampling = self.sampling_with(config.sampling)
        sampler, decoded = families.read_config(self.bundle.sampler), codecs.read_config(self.bundle.codec).grid
        self.grid = common_grid(config.id, sampler.grid, decoded)
        self.can_be_guided: bool = sampler.guides
        if self.bundle.sampling["guidance_scale"] != 1 and not self.can_be_guided:
            raise CorruptCheckpoint(
                f"{config.location}: of the sampling in its model.json, guidance_scale is "
                f"{self.bundle.sampling['guidance_scale']!r}; this model cannot be guided, so it must be 1."
            )
        self.pipeline = StagePipeline(
            stages,
            self.grid,
            images_in_flight,
            config.id,
            images_per_call=config.token_sampler.images_per_call or _spread(images_in_flight, config.token_sampler),
            finished_together=config.image_decoder.batch_size,
            sleepy=[
                name
                for name, stage in config.stages.items()
                if name != "refiner" and (config.on_demand or stage.min_replicas == 0)
            ],
            unranked_if_scorer_down=config.unranked_if_scorer_down,
            prompts_max_bytes=prompts_max_bytes,
            batch_images=config.token_sampler.batch_images * config.token_sampler.max_replicas,
        )
        self.refiner = self._refiner(config, stages)
        self.refines: str | None = None
        self.decoding_uploads = asyncio.Semaphore(DECODERS)
        self._fingerprint = f"{config.model_dump_json(exclude={'sampling'})} {_files_of(self.bundle)}"
        self.vocabulary = self.bundle.vocabulary
        self._scorer = stages.get("clip_scorer")

    def refining(self) -> "ServedModel":
        """The same model, by the name of its refiner."""
        twin = copy.copy(self)
        twin.id, twin.refines = f"{self.id}{REFINE}", self.id
        return twin

    def _refiner(self, config: ModelConfig, stages: Mapping[str, Any]) -> RefinerPipeline | None:
        """What refines its pictures, where the settings have it."""
        if config.refiner is None:
            return None
        codec = codecs.read_config(self.bundle.codec)
        try:
            codecs.require_vectors(self.bundle.codec)
            for size in config.refiner.shapes:
                grid_of(size, codec)
        except (UnsupportedConfig, InvalidValue) as error:
            raise InvalidSettings(f"refiner of {config.id}: {error}") from None
        return RefinerPipeline(stages["refiner"], config.refiner, codec.size, config.id)

    @property
    def fingerprint(self) -> str:
        """The same for what draws the same pictures: its settings, and its files as they were at the start."""
        return f"{self.id} {self._fingerprint} {self.sampling}"

    def sampling_with(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What `sampling` is with these settings in place of model.json's.

        Raises:
          InvalidSettings: there is no such parameter, or no such value of it.
        """
        sampling = self.bundle.sampling | dict(settings)
        try:
            Sampling(**sampling)
        except (InvalidValue, TypeError) as error:
            raise InvalidSettings(f"sampling of {self.id}: {error}") from None
        return sampling

    @property
    def side(self) -> int:
        """Of its images, in pixels."""
        return self.bundle.size

    @property
    def size(self) -> str:
        """The same, as requests and replies say it."""
        return f"{self.side}x{self.side}"

    @property
    def ranks_images(self) -> bool:
        """Whether there is a scorer to choose the best by."""
        return self._scorer is not None

    async def score(self, text: str, image: np.ndarray) -> float:
        """Says how well an image, uint8 [height, width, 3], shows a text; raises as `flow.calls.retried` does."""
        assert self._scorer is not None  # the settings see to it
        scorer = self._scorer

        async def attempt() -> float:
            (score,) = await result(scorer.score.remote(text, image[None]))
            return finite("clip_scorer", score)

        return await retried("clip_scorer", attempt)

    def describe(self, created: int, owned_by: str) -> dict[str, Any]:
        """The model as OpenAI's model list has it, and a little more."""
        return {
            "id": self.id,
            "object": "model",
            "created": created,
            "owned_by": owned_by,
            "size": self.size,
            "licence": self.bundle.licence,
            "description": self.bundle.description,
            "ranks_images": self.ranks_images,
            "backgrounds": ["opaque", *(["transparent"] if self.bundle.plain_ground else [])],
            "has_card": self.bundle.card is not None,
            "grid": list(self.grid[:2]),
            "can_be_guided": self.can_be_guided,
            "example_prompts": list(self.bundle.example_prompts),
            "known_things": list(self.bundle.known_things),
            "known_ways": list(self.bundle.known_ways),
            "has_known_pictures": self.bundle.known_pictures is not None,
            "sampling": dict(self.sampling),
            "ranges": dict(self.bundle.ranges),
            "refines": self.refines,
        }


def _spread(images_in_flight: int, sampler: TokenSamplerConfig) -> int:
    """Images for one call: of what a request has in flight something for each replica, twice if there is one.

    Where a replica has many slots, an eighth of them is drawn together as soon as one alone.
    """
    return max(1, images_in_flight // max(2, sampler.max_replicas), sampler.slots // 8)


def _files_of(bundle: bundles.Bundle) -> list[tuple[str, int, int]]:
    """Name, size and time of each file of a model: one that is replaced in its place is another model."""
    folders = {folder for folder in (bundle.text, bundle.sampler, bundle.codec, bundle.scorer) if folder}
    found = [(path, path.stat()) for folder in sorted(folders) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [(path.name, stat.st_size, stat.st_mtime_ns) for path, stat in found]
