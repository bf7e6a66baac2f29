"""Drawing on a picture that is there: which of its codes stay, and which are drawn anew.

A code stands for a square of pixels. Codes that stay are fixed, so that the model draws the others in their sight.
Knows nothing of files, of HTTP, or of how codes are drawn.
"""

import math

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8
from PIL import Image

FREE = -1  # in the place of a code that is to be drawn


def repaint_clear(alpha: UInt8[np.ndarray, "side side"], grid: int) -> Bool[np.ndarray, "grid grid"]:
    """Marks the codes in whose square a pixel is wholly transparent (alpha 0), as OpenAI's masks do."""
    clear = Image.fromarray((alpha == 0).astype(np.float32))
    return np.array(clear.resize((grid, grid), Image.Resampling.BOX)) > 1e-6


def repaint_below(keep: float, grid: int) -> Bool[np.ndarray, "grid grid"]:
    """Marks all rows but the first `keep` (0…1) of them; at least one row is marked."""
    kept_rows = min(round(keep * grid), grid - 1)
    return np.broadcast_to(np.arange(grid)[:, None] >= kept_rows, (grid, grid)).copy()


def fix_codes(codes: Int[np.ndarray, " N"], repaint: Bool[np.ndarray, "grid grid"]) -> Int32[np.ndarray, " N"]:
    """The codes that stay, `FREE` (-1) in the place of the others; N is grid²."""
    return np.where(repaint.ravel(), FREE, codes).astype(np.int32)


def keep_pixels(
    drawn: UInt8[np.ndarray, "side side 3"],
    original: UInt8[np.ndarray, "side side 3"],
    repaint: Bool[np.ndarray, "grid grid"],
) -> UInt8[np.ndarray, "side side 3"]:
    """Puts the original's own pixels back where codes stayed: a codebook only comes near to them."""
    side = drawn.shape[0]
    cells = Image.fromarray(repaint.astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    return np.where(np.array(cells)[..., None] == 1, drawn, original)


def grid_side(num_codes: int) -> int:
    """The side of a square of so many codes."""
    return math.isqrt(num_codes)
