"""What a step needs to know of a codec, whatever its kind."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from flax import linen as nn
from jaxtyping import Array, Float, Int

from model_core.training.loop import Metrics


class Reconstruction(NamedTuple):
    """A batch, there and back.

    Attributes:
      out: what the decoder gives: pictures in 0…1, or the statistics of some.
      side: what is minimised besides its `loss`, weighted.
      metrics: what to report.
      chosen: the features [B, rows, columns, E] and the codes that they chose, of a codebook that is to follow them.
    """

    out: Float[Array, "B height width channels"]
    side: Float[Array, ""]
    metrics: Metrics
    chosen: tuple[Float[Array, "B rows columns E"], Int[Array, "B rows columns"]] | None = None


@runtime_checkable
class Kind(Protocol):
    """A module of functions of (config, recipe, params, arrays): how one kind of codec is trained.

    Attributes:
      DECODER_PARTS: of the parameters, those that what is drawn of given codes depends on, and codes do not.
      Network: the linen module, made from a configuration.
    """

    DECODER_PARTS: tuple[str, ...]
    Network: type[nn.Module]

    def reconstruct(
        self, config: Any, recipe: Any, params: Any, pixels: Any, key: Any, step: Any, *, quantise: bool
    ) -> Reconstruction:
        """Encodes and decodes pixels [B, height, width, 3] in 0…1; differentiable in `params`."""
        ...

    def draw(self, config: Any, params: Any, codes: Any) -> Any:
        """What the decoder gives for codes [B, rows, columns], as `Reconstruction.out`."""
        ...

    def loss(self, recipe: Any, out: Any, pixels: Any) -> Any:
        """How far what the decoder gave is from the pixels that it should have."""
        ...

    def picture(self, out: Any) -> Any:
        """The pixels, about 0…1, of what the decoder gave."""
        ...

    def last_layer(self, config: Any) -> tuple[str, ...]:
        """The names that lead to the kernel of the decoder's last layer."""
        ...
