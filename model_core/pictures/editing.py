"""Drawing on a picture that is there: which of its codes stay, and which are drawn anew.

A code stands for a square of pixels. Codes that stay are fixed, so that the model draws the others in their sight.
Knows nothing of files, of HTTP, or of how codes are drawn.
"""

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8
from PIL import Image

FREE = -1  # in the place of a code that is to be drawn


def repaint_clear(alpha: UInt8[np.ndarray, "height width"], grid: tuple[int, int]) -> Bool[np.ndarray, "rows columns"]:
    """Marks the codes in whose square a pixel is wholly transparent (alpha 0), as OpenAI's masks do."""
    clear = Image.fromarray((alpha == 0).astype(np.float32))
    rows, columns = grid
    return np.array(clear.resize((columns, rows), Image.Resampling.BOX)) > 1e-6


def repaint_below(keep: float, grid: tuple[int, int]) -> Bool[np.ndarray, "rows columns"]:
    """Marks all rows but the first `keep` (0…1) of them; at least one row is marked."""
    rows = grid[0]
    kept_rows = min(round(keep * rows), rows - 1)
    return np.broadcast_to(np.arange(rows)[:, None] >= kept_rows, grid).copy()


def fix_codes(codes: Int[np.ndarray, " N"], repaint: Bool[np.ndarray, "rows columns"]) -> Int32[np.ndarray, " N"]:
    """The codes that stay, `FREE` (-1) in the place of the others; N is rows · columns."""
    return np.where(repaint.ravel(), FREE, codes).astype(np.int32)


def keep_pixels(
    drawn: UInt8[np.ndarray, "height width 3"],
    original: UInt8[np.ndarray, "height width 3"],
    repaint: Bool[np.ndarray, "rows columns"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Puts the original's own pixels back where codes stayed: a codebook only comes near to them."""
    height, width = drawn.shape[:2]
    cells = Image.fromarray(repaint.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    return np.where(np.array(cells)[..., None] == 1, drawn, original)
