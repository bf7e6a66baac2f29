"""The whole flow in one process: a prompt becomes ranked images.

prompt → conditions → image codes → pixels → scores → order. The service runs the same stages as deployments.
"""

import secrets
from collections.abc import Callable
from os import PathLike

import numpy as np
from jaxtyping import Int32

from model_core import bundles, families
from model_core.errors import InvalidValue
from model_core.families.conditions import common_grid
from model_core.sampler.sequence import SEEDS, Sampling, Sequence
from model_core.scorers.ranking import DIVERSITY, RankedImage, best
from model_core.stages import ImageDecoder, ImageScorer, TextEncoder, TokenSampler

MAX_IMAGES = 64
MAX_BEST_OF = 128


class Pipeline:
    """A model in memory. `from_model` and `from_parts` make one."""

    def __init__(self, bundle: bundles.Bundle, dtype: str = "float32", batch_size: int = 4, window: int | None = None):
        """Loads the parts of `bundle`.

        Args:
          dtype: float32, float16 or bfloat16: what weights are held and computed in.
          batch_size: images drawn together. The same seed draws the same image as long as this stays the same.
          window: so many codes a step tries to draw, which changes how long it takes; None as `TokenSampler` has it.

        Raises:
          CheckpointError: a part cannot be used, or the parts do not fit together.
        """
        self.bundle = bundle
        drawn = families.read_config(bundle.sampler).grid
        self.image_decoder = ImageDecoder(bundle.codec, dtype, batch_size)
        self.grid = common_grid(bundle.id, drawn, self.image_decoder.config.grid)
        self.text_encoder = TextEncoder(bundle.text, dtype, batch_size=2)  # a prompt, and a negative one
        self.token_sampler = TokenSampler(
            bundle.sampler, dtype, batch_size, self.grid.codebook, window=window, usual_window=bundle.window
        )
        self.scorer = ImageScorer(bundle.scorer, dtype, batch_size) if bundle.scorer else None

    @classmethod
    def from_model(
        cls,
        name: str | PathLike,
        *,
        dtype: str = "float32",
        batch_size: int = 4,
        window: int | None = None,
        scorer: str | PathLike | None = None,
        download: bool = False,
    ) -> "Pipeline":
        """Loads a model by the name of a shipped one ("emoji"), a folder, or a hub id.

        Args:
          scorer: what ranks its images, in place of its own scorer or where it has none: a folder or hub id.
          download: whether what is not on this machine may be fetched.

        Raises:
          ModelNotFound: nothing of that name is here.
          CheckpointError: its files cannot be used.
        """
        return cls(bundles.resolve(name, scorer=scorer, download=download), dtype, batch_size, window)

    @classmethod
    def from_parts(
        cls,
        *,
        sampler: str | PathLike,
        codec: str | PathLike,
        text: str | PathLike | None = None,
        scorer: str | PathLike | None = None,
        dtype: str = "float32",
        batch_size: int = 4,
        download: bool = False,
    ) -> "Pipeline":
        """Loads a model from folders or ids; raises as `from_model`. Without a scorer nothing is ranked."""
        bundle = bundles.from_parts(sampler=sampler, codec=codec, text=text, scorer=scorer, download=download)
        return cls(bundle, dtype, batch_size)

    def warm_up(self) -> None:
        """Compiles every stage, so that the first image takes no longer than the next."""
        for stage in (self.text_encoder, self.token_sampler, self.image_decoder, self.scorer):
            if stage:
                stage.warm_up()

    def generate(
        self,
        prompt: str,
        n: int = 1,
        best_of: int | None = None,
        seed: int | None = None,
        negative_prompt: str = "",
        guidance_scale: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        diversity: float | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[RankedImage]:
        """Draws images of a prompt, best first. None stands for the model's own default.

        Args:
          n: how many images to return.
          best_of: how many to draw; the best `n` by their scores are returned. None draws `n`.
          seed: of the first image; image i has (seed + i) mod 2³². None draws a fresh one.
          negative_prompt: what guidance leads away from; "" is no text at all.
          guidance_scale: how hard to follow the prompt; 1.0 is not at all beyond the plain model.
          temperature: above 0; lower is safer, higher is more varied.
          top_k: draw among so many likeliest codes; 0 = all.
          top_p: draw among the likeliest codes that together have this probability; 1.0 = all.
          diversity: of more images than are returned, near copies are left out; see `scorers.ranking.best`.
          on_progress: called with (codes drawn so far, codes to draw), counted over all images.

        Raises:
          InvalidValue: an argument is out of range; `param` names it.
        """
        best_of = n if best_of is None else best_of
        diversity = DIVERSITY if diversity is None else diversity
        first_seed = secrets.randbits(32) if seed is None else seed
        self._check(prompt, negative_prompt, n, best_of, first_seed, diversity)
        given = {"guidance_scale": guidance_scale, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        settings = self.bundle.sampling | {name: value for name, value in given.items() if value is not None}
        sampling = Sampling(**settings)
        (text,) = self.text_encoder.encode([(prompt, negative_prompt if sampling.is_guided else None)])
        seeds = [(first_seed + i) % SEEDS for i in range(best_of)]
        sequences = [
            Sequence(condition=text.condition, uncondition=text.uncondition, seed=seed, sampling=sampling)
            for seed in seeds
        ]
        codes = self.token_sampler.sample(sequences, on_progress and self._counter(best_of, on_progress))
        images = self.image_decoder.decode(codes)
        scores = self.scorer.score(prompt, images).tolist() if self.scorer else [None] * best_of
        return best(map(RankedImage, images, codes, seeds, scores), n, diversity)

    def _check(self, prompt, negative_prompt, n, best_of, seed, diversity) -> None:
        for name, text in (("prompt", prompt), ("negative_prompt", negative_prompt)):
            if not isinstance(text, str):
                raise InvalidValue(f"{name} must be a string; got {text!r}.", name)
        ranges = (("n", n, 1, MAX_IMAGES), ("best_of", best_of, n, MAX_BEST_OF), ("seed", seed, 0, SEEDS - 1))
        for name, value, low, high in ranges:
            if type(value) is not int or not low <= value <= high:
                hint = " (leave it out for a random one)" if name == "seed" else ""
                raise InvalidValue(f"{name} must be an integer from {low} to {high}{hint}; got {value!r}.", name)
        if not 0 <= diversity <= 1:
            raise InvalidValue(f"diversity must be a number from 0 to 1; got {diversity!r}.", "diversity")
        if best_of > n and self.scorer is None:
            raise InvalidValue(
                f"best_of is {best_of}, but {self.bundle.id} has no scorer to choose by: name one, or leave it out.",
                "best_of",
            )

    def _counter(self, num_images: int, on_progress: Callable[[int, int], None]):
        drawn = np.zeros(num_images, int)

        def count(place: int, codes: Int32[np.ndarray, " drawn"]) -> None:
            drawn[place] = codes.size
            on_progress(int(drawn.sum()), num_images * self.grid.num_codes)

        return count
