"""What training asks of a layer besides its numbers: dropout, and activations that are computed again.

It lies among the parameters of the layer, which alone reach every layer whatever calls it. Where a network draws there
is none, and the program is that of a network that knows nothing of this. For families that are functions of arrays; a
DalleBart's modules are reached by Flax's own ways (`dalle_bart.dropout`).
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

NAME = "in_training"

Params = dict[str, Any]


@struct.dataclass
class InTraining:
    """What is asked of one layer.

    Attributes:
      key: of the noise of this layer in this step; None where nothing is dropped.
      dropout: the share that is dropped of what attention and feed-forward add to the stream.
      activation_dropout: the share that is dropped inside of the feed-forward, in front of its last product.
      remat: what is inside of the layer is computed again for the gradient, rather than kept.
    """

    key: Array | None
    dropout: float = struct.field(pytree_node=False)
    activation_dropout: float = struct.field(pytree_node=False)
    remat: bool = struct.field(pytree_node=False)


def asked_of(
    params: Params,
    key: Array | None = None,
    *,
    dropout: float = 0.0,
    activation_dropout: float = 0.0,
    remat: bool = False,
) -> Params:
    """The parameters of a network, with the same asked of each of its `layers`; as they are where nothing is."""
    if not (dropout or activation_dropout or remat):
        return params

    def asked(name: str) -> InTraining:
        of_layer = None if key is None else jax.random.fold_in(key, int(name))
        return InTraining(key=of_layer, dropout=dropout, activation_dropout=activation_dropout, remat=remat)

    layers = {name: layer | {NAME: asked(name)} for name, layer in params["layers"].items()}
    return params | {"layers": layers}


def dropped(
    layer: Params, kind: Literal["dropout", "activation_dropout"], place: int, x: Float[Array, "R L D"]
) -> Float[Array, "R L D"]:
    """Dropout (Srivastava et al. 2014): a share becomes zero, and what is left grows by as much.

    Args:
      layer: its parameters; where nothing is asked of it, `x` stays as it is.
      place: tells the places of one layer apart.
    """
    share = getattr(layer[NAME], kind) if NAME in layer else 0.0
    if not share:
        return x
    key = jax.random.fold_in(layer[NAME].key, place)
    key = jax.random.fold_in(key, x.shape[1])  # a text and its codes go through a layer apart
    return jnp.where(jax.random.bernoulli(key, 1 - share, x.shape), x / (1 - share), 0).astype(x.dtype)


def as_asked(layer: Params, run: Callable[..., Any]) -> Callable[..., Any]:
    """What runs a layer, so that its gradient needs no more memory than is asked for."""
    return jax.checkpoint(run) if NAME in layer and layer[NAME].remat else run
