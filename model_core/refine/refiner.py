"""Refines a picture by gradient: its codes' vectors move, a step at a time, to where the scorer likes the picture more.

From noise, or from a picture. The scorer is part of what is descended, so that a higher score alone says little of what
a person sees: docs/refine.md tells what came of it.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, UInt8

from model_core import codecs, scorers
from model_core.codecs import VectorCodec
from model_core.errors import InvalidValue, NotFinite
from model_core.pictures.images import to_pixels, to_uint8
from model_core.refine.objective import Goal, Networks, loss_and_gradient, straight_through
from model_core.refine.values import MAX_TEXTS, Refined, Refinement, Size, State, grid_of

DECAY_OF_MEAN, DECAY_OF_SQUARE, EPSILON = 0.9, 0.999, 1e-8  # Adam's, as Kingma & Ba 2015 has them
TEXTS_KEPT = 64


class Refiner:
    """A codec and a scorer, and programs for pictures of some sizes.

    Attributes:
      sizes: heights and widths that can be refined; the codec's own is the first.

    Args:
      codec, scorer: their folders.
      dtype: float32, float16 or bfloat16: what weights are held and most is computed in. State and loss are float32.
      sizes: beside the codec's own.

    Raises:
      UnsupportedConfig: no gradient crosses such a codec.
      InvalidValue: a side is no multiple of the pixels of a code.
      CheckpointError: as `codecs.load` and `scorers.load`.
    """

    def __init__(self, codec: Path, scorer: Path, dtype: str = "float32", sizes: Sequence[Size] = ()):
        codecs.require_vectors(codec)
        loaded, self.config, codec_params = codecs.load(codec, dtype)
        self._codec = cast(VectorCodec, loaded)
        self._scorer, scorer_config, scorer_params = scorers.load(scorer, dtype)
        self.sizes = tuple(dict.fromkeys([self.config.size, *sizes]))
        for size in self.sizes:
            grid_of(size, self.config)
        self._networks = Networks(self._codec, self.config, self._scorer, scorer_config)
        self._params = {"codec": codec_params, "scorer": scorer_params}
        tokenize = self._scorer.open_text(scorer)
        embed = partial(self._scorer.embed_text, scorer_config, scorer_params)
        self._embed = lru_cache(maxsize=TEXTS_KEPT)(lambda text: embed(*tokenize([text])))

    def warm_up(self) -> None:
        """Compiles what `refine` runs, for every size."""
        for size in self.sizes:
            white = np.full((*size, 3), 255, np.uint8)
            for _ in self.refine(Refinement(texts=(("", 1.0),), seed=0, size=size, steps=1), white):
                pass

    def refine(
        self,
        refinement: Refinement,
        image: UInt8[np.ndarray, "height width 3"] | None = None,
        state: State | None = None,
        every: int = 5,
    ) -> Iterator[Refined]:
        """Refines one picture.

        Args:
          image: of the refinement's size, to begin with; None is noise.
          state: to go on from; nothing of it is given again.
          every: so many steps lie between two pictures that are given.

        Yields:
          The start, the picture after each `every` steps, and the last.

        Raises:
          InvalidValue: the size is none of `sizes`, or the picture is of another.
          NotFinite: a vector, pixel or score is NaN or infinite.
        """
        if refinement.size not in self.sizes:
            known = ", ".join(f"{width}x{height}" for height, width in self.sizes)
            raise InvalidValue(
                f"Pictures of {refinement.size[1]}x{refinement.size[0]} are not refined; sizes: {known}.", "size"
            )
        goal, text = self._goal(refinement), refinement.texts[0][0]
        if state is None:
            state = self._start(refinement, image)
            yield self._seen(state, text)
        while state.step < refinement.steps:
            state = self._advance(state, goal, min(every, refinement.steps - state.step))
            yield self._seen(state, text)

    def _goal(self, refinement: Refinement) -> Goal:
        vectors = [np.asarray(self._embed(text)[0]) for text, _ in refinement.texts]
        room = MAX_TEXTS - len(vectors)
        weights = [weight for _, weight in refinement.texts] + [0.0] * room
        return Goal(
            texts=jnp.asarray(np.stack(vectors + vectors[:1] * room)),
            weights=jnp.asarray(weights, jnp.float32),
            cutouts=jnp.int32(refinement.cutouts),
            init_weight=jnp.float32(refinement.init_weight),
            step_size=jnp.float32(refinement.step_size),
            key=jax.random.key(np.uint32(refinement.seed)),
        )

    def _start(self, refinement: Refinement, image: UInt8[np.ndarray, "height width 3"] | None) -> State:
        if image is None:
            rng, grid = np.random.default_rng(refinement.seed), grid_of(refinement.size, self.config)
            codes = rng.integers(self.config.grid.codebook, size=grid)
        elif image.shape[:2] != refinement.size:
            raise InvalidValue(f"The picture has {image.shape[:2]} pixels; expected {refinement.size}.", "image")
        else:
            codes = self._codec.encode_grid(self.config, self._params["codec"], to_pixels(image[None]))[0]
        book = np.asarray(self._codec.codebook(self.config, self._params["codec"]), np.float32)
        start = book[np.asarray(codes)]
        return State(step=0, vectors=start, mean=np.zeros_like(start), square=np.zeros_like(start), start=start)

    def _advance(self, state: State, goal: Goal, steps: int) -> State:
        moving = (state.vectors, state.mean, state.square)
        for step in range(state.step, state.step + steps):  # begun without waiting for the one before
            moving = advance(self._networks, self._params, *moving, state.start, goal, np.int32(step))
        vectors, mean, square = map(np.asarray, moving)
        return State(step=state.step + steps, vectors=vectors, mean=mean, square=square, start=state.start)

    def _seen(self, state: State, text: str) -> Refined:
        pixels = np.asarray(_paint(self._networks, self._params["codec"], state.vectors))
        image = to_uint8(_finite("pixels", pixels), self.config.round_pixels)
        params, config = self._params["scorer"], self._networks.scorer_config
        vectors = self._scorer.embed_pixels(config, params, self._scorer.preprocess(config, [image]))
        score = np.asarray(self._scorer.logits_per_image(config, params, vectors, self._embed(text)))
        return Refined(image=image, score=float(_finite("scores", score)[0, 0]), state=state)


@partial(jax.jit, static_argnums=0)
def advance(
    networks: Networks,
    params: dict[str, Any],
    vectors: Float[Array | np.ndarray, "rows columns E"],
    mean: Float[Array | np.ndarray, "rows columns E"],
    square: Float[Array | np.ndarray, "rows columns E"],
    start: Float[Array | np.ndarray, "rows columns E"],
    goal: Goal,
    step: Int[Array | np.ndarray, ""] | np.int32,
) -> tuple[Float32[Array, "rows columns E"], Float32[Array, "rows columns E"], Float32[Array, "rows columns E"]]:
    """One step of Adam; then each channel is kept within the codebook's range of it. Gives vectors, mean and square."""
    vectors, mean, square, start, step = map(jnp.asarray, (vectors, mean, square, start, step))
    _, gradient = loss_and_gradient(networks, params, vectors, start, goal, step)
    mean = DECAY_OF_MEAN * mean + (1 - DECAY_OF_MEAN) * gradient
    square = DECAY_OF_SQUARE * square + (1 - DECAY_OF_SQUARE) * gradient**2
    count = step.astype(jnp.float32) + 1
    direction = (mean / (1 - DECAY_OF_MEAN**count)) / (jnp.sqrt(square / (1 - DECAY_OF_SQUARE**count)) + EPSILON)
    book = networks.codec.codebook(networks.codec_config, params["codec"]).astype(jnp.float32)
    return jnp.clip(vectors - goal.step_size * direction, book.min(axis=0), book.max(axis=0)), mean, square


@partial(jax.jit, static_argnums=0)
def _paint(
    networks: Networks, params: Any, vectors: Float[Array | np.ndarray, "rows columns E"]
) -> Float[Array, "height width 3"]:
    book = networks.codec.codebook(networks.codec_config, params).astype(jnp.float32)
    nearest = straight_through(jnp.asarray(vectors), book)
    return networks.codec.decode_vectors(networks.codec_config, params, nearest[None])[0]


def _finite(what: str, numbers: np.ndarray) -> np.ndarray:
    if not np.isfinite(numbers).all():
        raise NotFinite(f"The refiner computed {what} that are not finite (NaN or infinite).")
    return numbers
