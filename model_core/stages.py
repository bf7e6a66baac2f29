"""The four stages as objects that hold their parameters: numpy in, numpy out, in batches of one compiled size.

prompts → `TextEncoder` → encoder states → `TokenSampler` → codes → `ImageDecoder` → images → `ClipScorer` → scores

No stage knows another, nor who calls it. Calls larger than `batch_size` are split and smaller ones padded, so that
every computation has the same shape: what comes out for one item depends on that item alone, to the last bit.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt8

from model_core import checkpoint, clip, dalle_bart, vqgan
from model_core.errors import InvalidValue
from model_core.images import to_uint8
from model_core.text import Tokenizer

OnCodes = Callable[[list[int], Int32[np.ndarray, "rows drawn"]], None]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedText:
    """What the encoder makes of B prompts.

    Attributes:
      states: padded positions included.
      mask: 1 = real token.
    """

    states: Float32[np.ndarray, "B T D"]
    mask: Int32[np.ndarray, "B T"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SamplerJob:
    """One image to draw, with the encoder's view of the prompt and of what guidance leads away from."""

    states: Float32[np.ndarray, "T D"]
    mask: Int32[np.ndarray, " T"]
    uncond_states: Float32[np.ndarray, "T D"]
    uncond_mask: Int32[np.ndarray, " T"]
    seed: int
    guidance_scale: float = 10.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class TextEncoder:
    """Prompts to encoder states."""

    def __init__(self, folder: Path, dtype: str = "float32", batch_size: int = 8):
        self.tokenizer = Tokenizer.from_folder(folder)
        self.config, params = checkpoint.load_dalle_bart(folder, dtype)
        self.batch_size = batch_size
        self._params = {"model": {"encoder": params["model"]["encoder"]}}

    def warm_up(self) -> None:
        """Compiles what `encode` runs."""
        self.encode([""])

    def encode(self, prompts: Sequence[str]) -> EncodedText:
        """Encodes prompts; "" stands for the unconditional text, which the tokenizer's normaliser never sees."""
        tokens, mask = self.tokenizer(list(prompts))
        empty = [not prompt for prompt in prompts]
        if any(empty):
            tokens[empty], mask[empty] = self.tokenizer.unconditional(sum(empty))
        parts = [
            dalle_bart.encode(self.config, self._params, tokens[rows], mask[rows])[:count]
            for rows, count in _batches(len(prompts), self.batch_size)
        ]
        return EncodedText(np.concatenate(parts).astype(np.float32), mask)


class TokenSampler:
    """Encoder states to image codes."""

    def __init__(self, folder: Path, dtype: str = "float32", batch_size: int = 4, num_codes: int | None = None):
        """Loads the decoder.

        Args:
          num_codes: ids from here on are never drawn: the size of the codebook that the codes are for.
        """
        self.config, params = checkpoint.load_dalle_bart(folder, dtype)
        self.batch_size = batch_size
        codes = self.config.image_vocab_size
        self.num_codes = codes if num_codes is None else min(num_codes, codes)
        self._dtype = params["lm_head"]["kernel"].dtype
        self._weights = dalle_bart.decoder_weights(params)

    def warm_up(self) -> None:
        """Compiles what `sample` runs, with guidance and without."""
        length, width = self.config.max_text_length, self.config.d_model
        states, mask = np.zeros((length, width), np.float32), np.ones(length, np.int32)
        for scale in (10.0, 1.0):
            job = SamplerJob(
                states=states, mask=mask, uncond_states=states, uncond_mask=mask, seed=0, guidance_scale=scale
            )
            drawing = self._start([job])
            dalle_bart.advance(self.config, self._weights, drawing, 1).codes.block_until_ready()

    def sample(self, jobs: Sequence[SamplerJob], on_codes: OnCodes | None = None) -> Int32[np.ndarray, "B N"]:
        """Draws the codes of every job.

        Args:
          on_codes: called after each row of codes with the positions in `jobs` of those being drawn, and their codes so
            far. What it raises ends the drawing.

        Raises:
          InvalidValue: a sampling parameter is out of range.
        """
        codes = np.zeros((len(jobs), self.config.image_length), np.int32)
        for group in self._groups(jobs):
            drawing = self._start([jobs[index] for index in group])
            for before, drawn in pairwise(self._row_edges()):
                drawing = dalle_bart.advance(self.config, self._weights, drawing, drawn - before)
                if on_codes:
                    on_codes(group, np.asarray(drawing.codes)[: len(group), :drawn])
            codes[group] = np.asarray(drawing.codes)[: len(group)]
        return codes

    def _groups(self, jobs: Sequence[SamplerJob]) -> Iterator[list[int]]:
        """Jobs that share a batch. Those without guidance run in a program of their own, of half the rows."""
        for guided in (True, False):
            alike = [index for index, job in enumerate(jobs) if (job.guidance_scale != 1) == guided]
            for first in range(0, len(alike), self.batch_size):
                yield alike[first : first + self.batch_size]

    def _row_edges(self) -> list[int]:
        length = self.config.image_length
        side = math.isqrt(length)
        return [*range(0, length, side), length]

    def _start(self, jobs: list[SamplerJob]) -> dalle_bart.Drawing:
        jobs = jobs + jobs[-1:] * (self.batch_size - len(jobs))
        sampling = dalle_bart.sampling_params(
            self.batch_size,
            num_codes=self.num_codes,
            guidance_scale=[job.guidance_scale for job in jobs],
            temperature=[job.temperature for job in jobs],
            top_k=[job.top_k for job in jobs],
            top_p=[job.top_p for job in jobs],
            seeds=[job.seed for job in jobs],
        )
        return dalle_bart.start(
            self.config,
            self._weights,
            np.stack([job.states for job in jobs]).astype(self._dtype),
            np.stack([job.mask for job in jobs]),
            np.stack([job.uncond_states for job in jobs]).astype(self._dtype),
            np.stack([job.uncond_mask for job in jobs]),
            sampling,
        )


class ImageDecoder:
    """Image codes to finished images."""

    def __init__(self, folder: Path, dtype: str = "float32", batch_size: int = 4):
        self.config, self._params = checkpoint.load_vqgan(folder, dtype)
        self.batch_size = batch_size

    def warm_up(self) -> None:
        """Compiles what `decode` runs."""
        self.decode(np.zeros((1, self.config.grid**2), np.int32))

    def decode(self, codes: Int[np.ndarray, "B N"]) -> UInt8[np.ndarray, "B height width 3"]:
        """Turns codes into uint8 images.

        Raises:
          InvalidValue: a code is not in the codebook, or N is not a square number.
        """
        if codes.size and (codes.min() < 0 or codes.max() >= self.config.n_embed):
            raise InvalidValue(
                f"Codes must lie in 0…{self.config.n_embed - 1}; got {codes.min()}…{codes.max()}.", "codes"
            )
        parts = [
            to_uint8(np.asarray(vqgan.decode_codes(self.config, self._params, codes[rows])))[:count]
            for rows, count in _batches(len(codes), self.batch_size)
        ]
        return np.concatenate(parts)


class ClipScorer:
    """A prompt and images to scores: CLIP's logits per image."""

    def __init__(self, folder: Path, dtype: str = "float32", batch_size: int = 4):
        self.tokenizer = Tokenizer.from_folder(folder)
        self.config, self._params = checkpoint.load_clip(folder, dtype)
        self.batch_size = batch_size

    def warm_up(self) -> None:
        """Compiles what `score` runs."""
        side = self.config.vision_config.image_size
        self.score("", np.zeros((1, side, side, 3), np.uint8))

    def score(self, prompt: str, images: UInt8[np.ndarray, "B height width 3"]) -> Float32[np.ndarray, " B"]:
        """Scores how well each image shows the prompt; higher is better."""
        text = clip.embed_text(self.config, self._params, *self.tokenizer([prompt]))
        preprocessed = clip.preprocess(self.config, list(images))
        batches = _batches(len(images), self.batch_size)
        parts = [self._logits(preprocessed[rows], text)[:count] for rows, count in batches]
        return np.concatenate(parts)

    def _logits(self, preprocessed: Float[np.ndarray, "B height width 3"], text) -> Float32[np.ndarray, " B"]:
        vectors = clip.embed_pixels(self.config, self._params, preprocessed)
        return np.asarray(clip.logits_per_image(self.config, self._params, vectors, text))[:, 0]


def _batches(total: int, batch_size: int) -> Iterator[tuple[Int[np.ndarray, " rows"], int]]:
    """Cuts `total` items into batches of one size: which items (the last one repeated), and how many are real."""
    if total < 1:
        raise InvalidValue("Nothing was given; give at least one item.")
    for first in range(0, total, batch_size):
        yield np.arange(first, first + batch_size).clip(max=total - 1), min(batch_size, total - first)
