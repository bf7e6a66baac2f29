"""The four stages as objects that hold their parameters: numpy in, numpy out, in batches of one compiled size.

prompts → `TextEncoder` → encoder states → `TokenSampler` → codes → `ImageDecoder` → images → `ClipScorer` → scores

No stage knows another, nor who calls it. Calls larger than `batch_size` are split and smaller ones padded, so that
every computation has the same shape: what comes out for one item depends on that item alone, to the last bit.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, UInt8

from model_core import codecs, families, scorers
from model_core.batches import batches, in_batches
from model_core.errors import InvalidValue
from model_core.families.dalle_bart import dalle_bart
from model_core.families.dalle_bart.decoder import cutting
from model_core.families.dalle_bart.text import Tokenizer
from model_core.pictures.images import to_pixels, to_uint8
from model_core.sampler.rows import Rows, Seat
from model_core.sampler.sequence import SamplerJob
from model_core.weights import sharding
from model_core.weights.checkpoint import Place

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
        _, self.config, self._params = families.load(folder, dtype, half="encoder", place=_placer(num_devices))
        self.batch_size = batch_size

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
            for rows, count in batches(len(prompts), self.batch_size)
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
          InvalidValue: there are not so many devices; beside what `families.load` raises.
        """
        place = cutting(_placer(num_devices))
        _, self.config, params = families.load(folder, dtype, half="decoder", place=place)
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
        self._codec, self.config, self._params = codecs.load(folder, dtype)
        self.batch_size = computed_together(batch_size)

    def warm_up(self) -> None:
        """Compiles what `decode` and `encode` run."""
        self.encode(self.decode(np.zeros((1, self.config.grid.num_codes), np.int32)))

    def decode(self, codes: Int[np.ndarray, "B N"]) -> UInt8[np.ndarray, "B height width 3"]:
        """Turns codes into uint8 images.

        Raises:
          InvalidValue: a code is not in the codebook, or there are more or fewer than a picture has.
        """
        codebook = self.config.grid.codebook
        if codes.size and (codes.min() < 0 or codes.max() >= codebook):
            raise InvalidValue(f"Codes must lie in 0…{codebook - 1}; got {codes.min()}…{codes.max()}.", "codes")
        return in_batches(self._decode, codes, self.batch_size)

    def encode(self, images: UInt8[np.ndarray, "B height width 3"]) -> Int32[np.ndarray, "B N"]:
        """Turns images of the model's size into the codes that spell them best.

        Raises:
          InvalidValue: the images are of another size.
        """
        (height, width), (rows, columns) = images.shape[1:3], self.config.size
        if (height, width) != (rows, columns):
            raise InvalidValue(f"The image has {width}×{height} pixels; this model takes {columns}×{rows}.", "image")
        return in_batches(self._encode, images, self.batch_size)

    def _decode(self, codes: Int[np.ndarray, "B N"]) -> UInt8[np.ndarray, "B height width 3"]:
        return to_uint8(np.asarray(self._codec.decode(self.config, self._params, codes)))

    def _encode(self, images: UInt8[np.ndarray, "B height width 3"]) -> Array:
        return self._codec.encode(self.config, self._params, to_pixels(images))


class ClipScorer:
    """A prompt and images to scores: the scorer's logits per image.

    Attributes:
      batch_size: images computed in one call; on a CPU 1, whatever was asked for.
    """

    def __init__(self, folder: Path, dtype: str = "float32", batch_size: int = 4):
        self._scorer, self.config, self._params = scorers.load(folder, dtype)
        self._text = self._scorer.open_text(folder)
        self.batch_size = computed_together(batch_size)
        self._embed_text = lru_cache(maxsize=PROMPTS_KEPT)(self._embed_prompt)

    def warm_up(self) -> None:
        """Compiles what `score` runs."""
        self.score("", np.zeros((1, *self.config.size, 3), np.uint8))

    def score(self, prompt: str, images: UInt8[np.ndarray, "B height width 3"]) -> Float32[np.ndarray, " B"]:
        """Scores how well each image shows the prompt; higher is better."""
        text = self._embed_text(prompt)
        preprocessed = self._scorer.preprocess(self.config, list(images))
        return in_batches(lambda rows: self._logits(rows, text), preprocessed, self.batch_size)

    def _embed_prompt(self, prompt: str) -> Float[Array, "1 dimension"]:
        return self._scorer.embed_text(self.config, self._params, *self._text([prompt]))

    def _logits(self, preprocessed: Float[np.ndarray, "B height width 3"], text) -> Float32[np.ndarray, " B"]:
        vectors = self._scorer.embed_pixels(self.config, self._params, preprocessed)
        return np.asarray(self._scorer.logits_per_image(self.config, self._params, vectors, text))[:, 0]


def computed_together(batch_size: int) -> int:
    """How many images of a batch to decode, encode or score in one call: all, but on a CPU one.

    There a call with several takes about as long as they do one after another, and it would have to be filled.
    """
    return 1 if jax.default_backend() == "cpu" else batch_size


def _placer(num_devices: int) -> Place | None:
    return sharding.placer(sharding.make_mesh(num_devices), dalle_bart.CUT_AXES) if num_devices != 1 else None
