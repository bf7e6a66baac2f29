"""The four stages as objects that hold their parameters: numpy in, numpy out, in batches of one compiled size.

prompts → `TextEncoder` → encoder states → `TokenSampler` → codes → `ImageDecoder` → images → `ClipScorer` → scores

No stage knows another, nor who calls it. Calls larger than `batch_size` are split and smaller ones padded, so that
every computation has the same shape: what comes out for one item depends on that item alone, to the last bit.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, UInt8

from model_core.codecs import vqgan
from model_core.errors import InvalidValue
from model_core.families.conditions import Condition, EncodedPrompt
from model_core.families.dalle_bart import dalle_bart
from model_core.families.dalle_bart.decoder import cutting
from model_core.families.dalle_bart.text import Tokenizer, normalize
from model_core.pictures.images import to_uint8
from model_core.sampler.rows import Rows, Seat
from model_core.sampler.sequence import SamplerJob
from model_core.scorers import clip
from model_core.weights import checkpoint, sharding

PROMPTS_KEPT = 256  # by a scorer: of one prompt several images are scored, and not always in one call

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


class TextEncoder:
    """Prompts to encoder states."""

    def __init__(self, folder: Path, dtype: str = "float32", batch_size: int = 8, num_devices: int = 1):
        """Loads the encoder, cut over `num_devices` devices where there are several."""
        self.tokenizer = Tokenizer.from_folder(folder)
        self.config, self._params = checkpoint.load_dalle_bart(
            folder, dtype, part="encoder", place=_placer(num_devices)
        )
        self.batch_size = batch_size

    def warm_up(self) -> None:
        """Compiles what `encode` runs."""
        self.encode([""])

    def encode(self, prompts: Sequence) -> Any:
        """Encodes pairs of a prompt and a negative one or None; or, until everybody gives pairs, prompts."""
        if not prompts or isinstance(prompts[0], str):
            return self._encode(prompts)
        found = []
        for prompt, negative in prompts:
            texts = [prompt] if negative is None else [prompt, negative]
            encoded = self._encode(texts)
            conditions = [Condition(*both) for both in zip(encoded.states, encoded.mask, strict=True)]
            words = prompt
            if prompt and self.tokenizer.config.normalize_text:
                words = normalize(prompt, self.tokenizer._word_list).strip()
            counts = [int(encoded.mask[0].sum()), int(encoded.mask[1].sum()) if negative else 0]
            found.append(EncodedPrompt(conditions[0], conditions[1] if len(texts) > 1 else None, words, *counts))
        return found

    def _encode(self, prompts: Sequence[str]) -> EncodedText:
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
    """Encoder states to image codes, for one caller at a time. `rows` serves the engine, for many."""

    def __init__(
        self,
        folder: Path,
        dtype: str = "float32",
        batch_size: int = 4,
        num_codes: int | None = None,
        deterministic: bool | None = None,
        num_devices: int = 1,
    ):
        """Loads the decoder.

        Args:
          batch_size: images under guidance that are drawn together.
          num_codes: ids from here on are never drawn: the size of the codebook that the codes are for.
          deterministic: compute `batch_size` images however few there are, so that no bit of one depends on the others.
            None: where the decoder is on a CPU.
          num_devices: that the decoder is cut over.

        Raises:
          InvalidValue: there are not so many devices; beside what `checkpoint.load_dalle_bart` raises.
        """
        place = cutting(_placer(num_devices))
        self.config, params = checkpoint.load_dalle_bart(folder, dtype, part="decoder", place=place)
        codes = self.config.image_vocab_size
        if deterministic is None:
            deterministic = all(device.platform == "cpu" for device in params["lm_head"]["kernel"].devices())
        self.rows = Rows(
            self.config,
            dalle_bart.decoder_weights(params),
            num_codes=codes if num_codes is None else min(num_codes, codes),
            max_rows=2 * batch_size,
            deterministic=deterministic,
        )

    def warm_up(self) -> None:
        """Compiles what `sample` runs."""
        self.rows.warm_up()

    def sample(self, jobs: Sequence[SamplerJob], on_codes: OnCodes | None = None) -> Int32[np.ndarray, "B N"]:
        """Draws the codes of every job; those that have to wait join as others leave.

        Args:
          on_codes: called after each row of codes, for each job that is being drawn, with its place in `jobs` and its
            codes so far. What it raises ends the drawing.

        Raises:
          InvalidValue: a job cannot be drawn.
        """
        checked = [self.rows.check(job) for job in jobs]
        codes = np.stack([job.codes for job in checked])
        waiting = deque(index for index, job in enumerate(checked) if job.prefix_length < self.config.image_length)
        seats: dict[int, Seat] = {}
        try:
            while waiting or seats:
                while waiting and self.rows.has_room(checked[waiting[0]]):
                    index = waiting.popleft()
                    seats[index] = self.rows.join(checked[index])
                self.rows.advance(math.isqrt(self.config.image_length))
                for index, seat in list(seats.items()):
                    codes[index] = seat.codes
                    if seat.position == self.config.image_length:
                        self.rows.leave(seats.pop(index))
                    if on_codes:
                        on_codes([index], seat.codes[None, : seat.position])
        finally:
            for seat in seats.values():
                self.rows.leave(seat)
        return codes


class ImageDecoder:
    """Image codes to finished images, and back.

    Attributes:
      batch_size: images computed in one call; on a CPU 1, whatever was asked for.
    """

    def __init__(self, folder: Path, dtype: str = "float32", batch_size: int = 4):
        self.config, self._params = checkpoint.load_vqgan(folder, dtype)
        self.batch_size = computed_together(batch_size)

    def warm_up(self) -> None:
        """Compiles what `decode` and `encode` run."""
        self.encode(self.decode(np.zeros((1, self.config.grid**2), np.int32)))

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

    def encode(self, images: UInt8[np.ndarray, "B height width 3"]) -> Int32[np.ndarray, "B N"]:
        """Turns images of the model's size into the codes that spell them best.

        Raises:
          InvalidValue: the images are of another size.
        """
        side = self.config.resolution
        if images.shape[1:3] != (side, side):
            height, width = images.shape[1:3]
            raise InvalidValue(f"The image has {width}×{height} pixels; this model takes {side}×{side}.", "image")
        pixels = images.astype(np.float32) / 255
        parts = [
            np.asarray(vqgan.encode_pixels(self.config, self._params, pixels[rows]))[:count]
            for rows, count in _batches(len(images), self.batch_size)
        ]
        return np.concatenate(parts)


class ClipScorer:
    """A prompt and images to scores: CLIP's logits per image.

    Attributes:
      batch_size: images computed in one call; on a CPU 1, whatever was asked for.
    """

    def __init__(self, folder: Path, dtype: str = "float32", batch_size: int = 4):
        self.tokenizer = Tokenizer.from_folder(folder)
        self.config, self._params = checkpoint.load_clip(folder, dtype)
        self.batch_size = computed_together(batch_size)
        self._embed_text = lru_cache(maxsize=PROMPTS_KEPT)(self._embed_prompt)

    def warm_up(self) -> None:
        """Compiles what `score` runs."""
        side = self.config.vision_config.image_size
        self.score("", np.zeros((1, side, side, 3), np.uint8))

    def score(self, prompt: str, images: UInt8[np.ndarray, "B height width 3"]) -> Float32[np.ndarray, " B"]:
        """Scores how well each image shows the prompt; higher is better."""
        text = self._embed_text(prompt)
        preprocessed = clip.preprocess(self.config, list(images))
        batches = _batches(len(images), self.batch_size)
        parts = [self._logits(preprocessed[rows], text)[:count] for rows, count in batches]
        return np.concatenate(parts)

    def _embed_prompt(self, prompt: str) -> Float[Array, "1 dimension"]:
        return clip.embed_text(self.config, self._params, *self.tokenizer([prompt]))

    def _logits(self, preprocessed: Float[np.ndarray, "B height width 3"], text) -> Float32[np.ndarray, " B"]:
        vectors = clip.embed_pixels(self.config, self._params, preprocessed)
        return np.asarray(clip.logits_per_image(self.config, self._params, vectors, text))[:, 0]


def computed_together(batch_size: int) -> int:
    """How many images of a batch to decode, encode or score in one call: all, but on a CPU one.

    There a call with several takes about as long as they do one after another, and it would have to be filled.
    """
    return 1 if jax.default_backend() == "cpu" else batch_size


def _placer(num_devices: int) -> checkpoint.Place | None:
    return sharding.placer(sharding.make_mesh(num_devices)) if num_devices != 1 else None


def _batches(total: int, batch_size: int) -> Iterator[tuple[Int[np.ndarray, " rows"], int]]:
    """Cuts `total` items into batches of one size: which items (the last one repeated), and how many are real."""
    if total < 1:
        raise InvalidValue("Nothing was given; give at least one item.")
    for first in range(0, total, batch_size):
        yield np.arange(first, first + batch_size).clip(max=total - 1), min(batch_size, total - first)
