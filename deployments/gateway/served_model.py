"""One model as the gateway knows it: its stages, its defaults, and how it reads a prompt.

Knows nothing of requests or of HTTP.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from deployments.config import ModelConfig
from deployments.flow.calls import result, retried
from deployments.flow.pipeline import StagePipeline
from model_core.families.dalle_bart.text import WORD_LIST, Tokenizer, normalize
from model_core.weights import bundles
from model_core.weights.json_files import read_json

DECODERS = 2  # uploads decoded at a time: each may take a hundred MB while it is


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """A prompt as the model reads it.

    Attributes:
      words: after normalising, where the model does that.
      num_tokens: begin and end among them; what is beyond the model's length is not read.
    """

    words: str
    num_tokens: int


class ServedModel:
    """A model, its files resolved, and its pipeline.

    Attributes:
      decoding_uploads: to be held while an upload is decoded.

    Args:
      config: of this model.
      stages: handles by stage name.
      images_in_flight: how many images of one request are in the stages at a time.

    Raises:
      ModelNotFound, CorruptCheckpoint: its files are not there, or not whole.
    """

    def __init__(self, config: ModelConfig, stages: Mapping[str, Any], images_in_flight: int):
        self.id = config.id
        self.bundle = bundles.resolve(config.location)
        self.stages = config.stages
        self.pipeline = StagePipeline(
            stages,
            images_in_flight,
            config.id,
            sleepy=[name for name, stage in config.stages.items() if stage.min_replicas == 0],
            unranked_if_scorer_down=config.unranked_if_scorer_down,
        )
        self.decoding_uploads = asyncio.Semaphore(DECODERS)
        self._scorer = stages.get("clip_scorer")

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

    @cached_property
    def num_codes(self) -> int:
        """Codes that an image is drawn of."""
        return int(read_json(self.bundle.dalle_bart, "config.json").get("image_length", 256))

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.from_folder(self.bundle.dalle_bart)

    def read(self, prompt: str) -> ReadPrompt:
        """Reads a prompt as the text encoder does. Takes a while for a long one: to be called in a thread."""
        words = prompt
        if prompt and self._tokenizer.config.normalize_text:
            word_list = self.bundle.dalle_bart / WORD_LIST
            words = normalize(prompt, word_list if word_list.is_file() else None).strip()
        _, mask = self._tokenizer([prompt])
        return ReadPrompt(words, int(mask.sum()))

    async def score(self, text: str, image: np.ndarray) -> float:
        """Says how well an image, uint8 [height, width, 3], shows a text, by CLIP."""
        assert self._scorer is not None  # the settings see to it
        scorer = self._scorer
        return await retried(lambda: result(scorer.score.remote(text, image)))

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
            "example_prompts": list(self.bundle.example_prompts),
            "sampling": dict(self.bundle.sampling),
        }
