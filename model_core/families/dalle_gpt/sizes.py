"""The sizes of a DalleGpt, and which of the published networks' ways it goes. Imports no JAX."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from model_core.families.conditions import Grid

Attention = Literal["full", "axial_row", "axial_col", "conv_like", "row", "conv", "conv_wrapped"]
Activation = Literal["gelu", "gelu_tanh", "gelu_sigmoid", "geglu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DalleGptConfig:
    """One stream: first the text, all of its T positions always, then the codes.

    Attributes:
      text_length: T, ids of a condition; the stream has one more where there is a `begin_id`.
      text_vocab: rows of the text's embedding, those of pads among them.
      begin_id: stands in front of every text, or None.
      first_pad: a 0 at position j of a text is read as the id `first_pad` + j; None: as it is.
      side: of the grid.
      codebook: C, codes that there are.
      width: D.
      head_size: K; heads together need not be as wide as D.
      hidden: width inside the feed-forward layers; with "geglu" once for what is gated and once for the gate.
      attention: of each layer, at what its codes look; see `attention.looked_at`.
      attention_of, feed_forward_of: the layer whose weights each layer uses; norms and scales are its own.
      late_cells: so many of the last text tokens count as first cells of the grid where a layer looks at a part of it.
      has_sandwich_norms: a norm behind attention and feed-forward too.
      has_scales: what a layer adds is scaled feature by feature.
      has_final_norm: a norm before that of the head.
      has_head_bias, has_query_bias: of the head, and of queries, keys and values.
      is_reversible: two streams, after RevNet (arXiv:1707.04585).
      is_clamped: what attention gives stays in float16's range.
      is_divided: by its largest feature, before the head.
      is_rotary: positions are turned into queries, keys and values; else they are added in front.
      is_tied: embeddings are the head's rows.
      shifts: parts of the features come from the token before, and of a code from the one above.
      positions: of codes: a vector for each, or for its row and column.
      text_positions: rows of the text's position embedding; 0 = none.
      scores_text: the file holds a head for text tokens.
      guides: there is a text that says nothing, to be led away from.
      sampling: the reference's defaults of guidance_scale, temperature, top_k and top_p.
    """

    text_length: int
    text_vocab: int
    begin_id: int | None
    first_pad: int | None
    side: int
    codebook: int
    width: int
    heads: int
    head_size: int
    hidden: int
    activation: Activation
    attention: tuple[Attention, ...]
    attention_of: tuple[int, ...]
    feed_forward_of: tuple[int, ...]
    late_cells: int = 0
    has_sandwich_norms: bool = False
    has_scales: bool = False
    has_final_norm: bool = False
    has_head_bias: bool = True
    has_query_bias: bool = True
    is_reversible: bool = False
    is_clamped: bool = False
    is_divided: bool = False
    is_rotary: bool = False
    is_tied: bool = False
    shifts: bool = False
    positions: Literal["each", "row_column"] = "row_column"
    text_positions: int = 0
    scores_text: bool = True
    guides: bool = False
    sampling: tuple[tuple[str, float], ...]

    @property
    def grid(self) -> Grid:
        return Grid(self.side, self.side, self.codebook)

    @property
    def condition_shape(self) -> tuple[int]:
        """Of the values of a `Condition`: token ids [T], 0 behind the text."""
        return (self.text_length,)

    @property
    def default_sampling(self) -> Mapping[str, float]:
        """How the reference draws unless told otherwise."""
        return dict(self.sampling)

    @property
    def stream_text(self) -> int:
        """P: T, and one more for what stands in front."""
        return self.text_length + (self.begin_id is not None)

    @property
    def layers(self) -> int:
        return len(self.attention)
