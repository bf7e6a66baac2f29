"""The four stages as objects that hold their parameters: numpy in, numpy out, in batches of one compiled size.

prompts → `TextEncoder` → conditions → `TokenSampler` → codes → `ImageDecoder` → images → `ImageScorer` → scores

No stage knows another, nor who calls it. Calls larger than `batch_size` are split and smaller ones padded, so that
every computation has the same shape: what comes out for one item depends on that item alone, to the last bit.
"""

from collections.abc import Callable
from collections.abc import Sequence as Values
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int, Int32, UInt8

from model_core import codecs, families, scorers
from model_core.batches import in_batches
from model_core.errors import InvalidValue, NotFinite
from model_core.families.conditions import EncodedPrompt
from model_core.pictures.images import to_pixels, to_uint8
from model_core.sampler.rows import Rows, draw_all
from model_core.sampler.sequence import Sequence
from model_core.weights import sharding

PROMPTS_KEPT = 256  # by a scorer: of one prompt several images are scored, and not always in one call

OnCodes = Callable[[int, Int32[np.ndarray, " drawn"]], None]


class TextEncoder:
    """Prompts to conditions."""

    def __init__(self, folder: Path, dtype: str = "float32", batch_size: int = 8, num_devices: int = 1):
        """Loads what reads texts, cut over `num_devices` devices where there are several."""
        family = families.of_folder(folder)
        self._text = family.open_text(folder, dtype, batch_size=batch_size, place=_placer(family, num_devices))

    def warm_up(self) -> None:
        """Compiles what `encode` runs."""
        self.encode([("", "")])

    def encode(self, pairs: Values[tuple[str, str | None]]) -> list[EncodedPrompt]:
        """Encodes prompts, each with what guidance leads away from: "" is no text at all, None is no guidance.

        Raises:
          NotFinite: states are NaN or infinite.
        """
        encoded = self._text.encode(pairs)
        for text in encoded:
            for condition in filter(None, (text.condition, text.uncondition)):
                _finite("text encoder", "states", condition.values)
        return encoded


class TokenSampler:
    """Conditions to image codes, for one caller at a time. `rows` serves the engine, for many."""

    def __init__(
        self,
        folder: Path,
        dtype: str = "float32",
        batch_size: int = 4,
        num_codes: int | None = None,
        deterministic: bool | None = None,
        num_devices: int = 1,
        window: int | None = None,
        usual_window: int = 1,
    ):
        """Loads what draws codes.

        Args:
          batch_size: images under guidance that are drawn together.
          num_codes: ids from here on are never drawn: the size of the codebook that the codes are for.
          deterministic: compute `batch_size` images however few there are, so that no bit of one depends on the others.
            None: where the sampler is on a CPU.
          num_devices: that the sampler is cut over.
          window: so many codes a step tries to draw. None: as many as pay; where `deterministic`, `usual_window`.

        Raises:
          InvalidValue: there are not so many devices; beside what `families.load` raises.
        """
        family = families.of_folder(folder)
        place = family.cutting(_placer(family, num_devices))
        _, self.config, params = families.load(folder, dtype, role="sampler", place=place)
        if deterministic is None:
            deterministic = next(iter(jax.tree.leaves(params)[0].devices())).platform == "cpu"
        codes = self.config.grid.codebook
        self.rows = Rows(
            family,
            self.config,
            family.step_weights(params),
            num_codes=codes if num_codes is None else min(num_codes, codes),
            max_rows=2 * batch_size,
            deterministic=bool(deterministic),
            window=usual_window if window is None and deterministic else window,
        )

    def warm_up(self) -> None:
        """Compiles what `sample` runs."""
        self.rows.warm_up()

    def sample(self, sequences: Values[Sequence], on_codes: OnCodes | None = None) -> Int32[np.ndarray, "B N"]:
        """Draws the codes of every sequence; those that have to wait join as others leave.

        Args:
          on_codes: called after each row of codes, for each sequence that is being drawn, with its place in `sequences`
            and its codes so far. What it raises ends the drawing.

        Raises:
          InvalidValue: a sequence cannot be drawn.
          NotFinite: logits are NaN or infinite.
        """
        for drawn in draw_all(self.rows, list(sequences)):
            for place, sequence in drawn:
                if on_codes:
                    on_codes(place, sequence.codes[: sequence.position])
        return np.stack([sequence.codes for sequence in sequences])


class ImageDecoder:
    """Image codes to finished images, and back.

    Attributes:
      batch_size: images computed in one call; on a CPU 1, whatever was asked for.
    """

    def __init__(self, folder: Path, dtype: str = "float32", batch_size: int = 4):
        self._codec, self.config, self.params = codecs.load(folder, dtype)
        self.batch_size = computed_together(batch_size)

    def warm_up(self) -> None:
        """Compiles what `decode` and `encode` run."""
        self.encode(self.decode(np.zeros((1, self.config.grid.num_codes), np.int32)))

    def decode(self, codes: Int[np.ndarray, "B N"]) -> UInt8[np.ndarray, "B height width 3"]:
        """Turns image codes into uint8 images.

        Raises:
          InvalidValue: a code is not in the codebook, or there are not as many as an image has.
          NotFinite: pixels are NaN or infinite.
        """
        grid = self.config.grid
        if codes.size and (codes.min() < 0 or codes.max() >= grid.codebook):
            raise InvalidValue(f"Codes must lie in 0…{grid.codebook - 1}; got {codes.min()}…{codes.max()}.", "codes")
        rounded = self.config.round_pixels

        def decode(rows: Int[np.ndarray, "B N"]) -> UInt8[np.ndarray, "B height width 3"]:
            pixels = np.asarray(self._codec.decode(self.config, self.params, rows))
            return to_uint8(_finite("image decoder", "pixels", pixels), rounded)

        return in_batches(decode, codes, self.batch_size)

    def encode(self, images: UInt8[np.ndarray, "B height width 3"]) -> Int32[np.ndarray, "B N"]:
        """Turns images of the model's size into the codes that spell them best.

        Raises:
          InvalidValue: the images are of another size.
        """
        (height, width), size = images.shape[1:3], self.config.size
        if (height, width) != size:
            raise InvalidValue(f"The image has {width}×{height} pixels; this model takes {size[1]}×{size[0]}.", "image")
        encode = partial(self._codec.encode, self.config, self.params)
        return in_batches(lambda rows: encode(to_pixels(rows)), images, self.batch_size)


class ImageScorer:
    """A prompt and images to scores; an image to the prompt, of those that the model knows, that shows in it.

    Attributes:
      batch_size: images computed in one call; on a CPU 1, whatever was asked for.
    """

    def __init__(self, folder: Path, dtype: str = "float32", batch_size: int = 4, known_prompts: tuple[str, ...] = ()):
        self._known_prompts = known_prompts
        self._scorer, self.config, self._params = scorers.load(folder, dtype)
        tokenize, embed = self._scorer.open_text(folder), partial(self._scorer.embed_text, self.config, self._params)
        self._embed_text = lru_cache(maxsize=PROMPTS_KEPT)(lambda prompt: embed(*tokenize([prompt])))
        self.batch_size = computed_together(batch_size)

    def warm_up(self) -> None:
        """Compiles what `score` runs."""
        self.score("", np.zeros((1, *self.config.size, 3), np.uint8))

    def score(self, prompt: str, images: UInt8[np.ndarray, "B height width 3"]) -> Float32[np.ndarray, " B"]:
        """Scores how well each image shows the prompt; higher is better.

        Raises:
          NotFinite: scores are NaN or infinite.
        """
        text = self._embed_text(prompt)
        return self._against(text, images)[:, 0]

    def tell(self, image: UInt8[np.ndarray, "height width 3"]) -> str:
        """Says which of the known prompts shows best in an image; "" where none is known.

        The first call takes some milliseconds more for each known prompt.
        """
        if not self._known_prompts:
            return ""
        return self._known_prompts[int(self._against(self._known_vectors, image[None])[0].argmax())]

    @cached_property
    def _known_vectors(self) -> Float32[jax.Array, "prompts P"]:
        # One by one, for which a program is there already.
        vectors = [np.asarray(self._embed_text.__wrapped__(prompt)) for prompt in self._known_prompts]
        return jax.numpy.asarray(np.concatenate(vectors))

    def _against(self, text: Any, images: UInt8[np.ndarray, "B height width 3"]) -> Float32[np.ndarray, "B prompts"]:
        preprocessed = self._scorer.preprocess(self.config, list(images))

        def logits(rows: Float32[np.ndarray, "B height width 3"]) -> Float32[np.ndarray, "B prompts"]:
            vectors = self._scorer.embed_pixels(self.config, self._params, rows)
            scores = np.asarray(self._scorer.logits_per_image(self.config, self._params, vectors, text))
            return _finite("image scorer", "scores", scores)

        return in_batches(logits, preprocessed, self.batch_size)


def computed_together(batch_size: int) -> int:
    """How many images of a batch to decode, encode or score in one call: all, but on a CPU one.

    There a call with several takes about as long as they do one after another, and it would have to be filled.
    """
    return 1 if jax.default_backend() == "cpu" else batch_size


def _finite(stage: str, what: str, numbers: np.ndarray) -> np.ndarray:
    """Gives the numbers back. Raises NotFinite, naming the stage, where one is NaN or infinite."""
    if not np.isfinite(numbers).all():
        raise NotFinite(f"The {stage} computed {what} that are not finite (NaN or infinite).")
    return numbers


def _placer(family: Any, num_devices: int) -> Any:
    """Where a family's weights go; None is JAX's default device."""
    return None if num_devices == 1 else sharding.placer(sharding.make_mesh(num_devices), family.CUT_AXES)
