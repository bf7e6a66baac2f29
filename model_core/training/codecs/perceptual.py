"""A perceptual loss: how different two pictures are to the layers of a CLIP's image tower.

Layers are compared as LPIPS does (Zhang et al. 2018, arXiv:1801.03924): at each position the features are brought to
length 1, and the squared distance is averaged over positions and layers. LPIPS looks with a VGG, and weights channels
as people's judgements taught it. Neither is here, for nothing is fetched: the eyes are those of a CLIP that is there.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from model_core import bundles, scorers
from model_core.errors import InvalidValue
from model_core.training.codecs.recipes import CodecRecipe


@partial(jax.tree_util.register_dataclass, data_fields=["params"], meta_fields=["scorer", "config"])
@dataclass(frozen=True)
class Perceptual:
    """A scorer that is not trained, an argument of `jit`."""

    scorer: Any
    config: Any
    params: Any

    def distance(self, got: Float[Array, "B h w 3"], want: Float[Array, "B h w 3"]) -> Float[Array, ""]:
        """From 0, for equal pictures, to 4; differentiable in `got`."""
        pairs = zip(self._layers(got), self._layers(want), strict=True)
        return jnp.mean(jnp.stack([jnp.mean(jnp.sum((a - b) ** 2, axis=-1)) for a, b in pairs]))

    def _layers(self, pixels: Float[Array, "B h w 3"]) -> list[Float[Array, "B L D"]]:
        """The features of pixels in 0…1, scaled to what the tower looks at, of length 1."""
        scaled = jax.image.resize(pixels, (len(pixels), *self.config.size, 3), "cubic")
        layers = self.scorer.pixel_layers(self.config, self.params, self.scorer.normalize(self.config, scaled))
        return [layer / jnp.sqrt(jnp.sum(layer**2, axis=-1, keepdims=True) + 1e-10) for layer in layers]


def perceptual_of(recipe: CodecRecipe, own: Path | None) -> Perceptual | None:
    """Loads what the recipe looks with; None where its weight is 0.

    Args:
      own: the folder of the run's own scorer, if it has one.

    Raises:
      InvalidValue: the recipe's weight is below 0, or it names no scorer and the run has none.
      ModelNotFound, CorruptCheckpoint, UnsupportedConfig: as `bundles.resolve`, of the one that it names.
    """
    if recipe.perceptual_weight < 0:
        raise InvalidValue(f"perceptual_weight must be 0 or more; got {recipe.perceptual_weight}.", "perceptual_weight")
    if not recipe.perceptual_weight:
        return None
    folder = bundles.scorer_of(recipe.perceptual_scorer) if recipe.perceptual_scorer else own
    if folder is None:
        raise InvalidValue(
            "perceptual_weight needs a scorer to look with, and the run has none: train one first (`dalle-serve train "
            "clip`), or name a scorer's folder or a model, --set perceptual_scorer=emoji.",
            "perceptual_scorer",
        )
    return Perceptual(*scorers.load(folder))
