"""A drawing without the plain ground that it was drawn on: alpha from how much of the ground is in each pixel.

A pixel at an outline is a mixture of the drawing and the ground. It becomes the drawing's own colour, as clear as there
was ground in it, so that it looks right before any other ground. What is of the ground's colour and does not hang
together with the border belongs to the drawing, such as the white of an eye.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8
from scipy import ndimage

BORDER = 2  # pixels at each edge of the picture that tell the ground's colour
PLAIN_SHARE = 0.6  # of the border that is of one colour where a ground is plain
NEAR = 24.0  # the distance in RGB up to which a colour is the ground's: a decoder's pixels waver
RISE = 4.0  # less than this is no way further into the drawing
MIXED_SHARE = 1 / 40  # of a picture's side, how deep an outline may be mixed with the ground
SPECK = 1 / 2000  # of a picture's pixels: a piece that is smaller is no drawing


def clear_ground(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 4"] | None:
    """The drawing with alpha: 0 where there is nothing but ground, between at its outlines, 255 within.

    None where the picture's border is not of one colour, for then nothing tells what is ground.
    """
    pixels = image.astype(np.float32)
    ground = np.median(pixels[_border(image.shape[:2])], axis=0)
    distance = np.sqrt(((pixels - ground) ** 2).sum(axis=2))
    is_near = distance <= NEAR
    if is_near[_border(is_near.shape)].mean() < PLAIN_SHARE:
        return None
    outside = _outside(is_near)
    alpha, colour = _unmix(pixels, pixels.reshape(-1, 3)[_way_in(distance, outside)], ground)
    alpha[outside], colour[outside] = 0, ground
    return np.dstack([np.clip(colour, 0, 255), 255 * alpha]).round().astype(np.uint8)


def _border(shape: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
    border = np.ones(shape[:2], bool)
    border[BORDER:-BORDER, BORDER:-BORDER] = False
    return border


def _reach(shape: tuple[int, ...]) -> int:
    """How many pixels deep an outline may be mixed with the ground."""
    return max(2, round(min(shape) * MIXED_SHARE))


def _outside(is_near: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """What is near the ground's colour and hangs together with the border, by ways of three pixels at least.

    Narrower ones are gaps in an outline, by which a white drawing would be emptied; they are cleared as far as an
    outline is deep. So is what is too small to be a drawing: a decoder's corners often are off.
    """
    wide = ndimage.binary_erosion(is_near, np.ones((3, 3)), border_value=1)
    pieces = _pieces(wide)
    at_border = np.unique(pieces[_border(is_near.shape)])
    outside = np.isin(pieces, at_border[at_border > 0])
    steps = 1 + _reach(is_near.shape)
    outside = np.asarray(ndimage.binary_dilation(outside, np.ones((3, 3)), iterations=steps, mask=is_near), bool)
    pieces = _pieces(~outside)
    return outside | (np.bincount(pieces.ravel()) < SPECK * is_near.size)[pieces]


def _pieces(mask: Bool[np.ndarray, "height width"]) -> Int[np.ndarray, "height width"]:
    """A number for each piece that hangs together, at corners too; 0 where there is none."""
    numbers = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, np.ones((3, 3)), output=numbers)
    return numbers


def _way_in(
    distance: Float32[np.ndarray, "height width"], outside: Bool[np.ndarray, "height width"]
) -> Int[np.ndarray, "height width"]:
    """For each pixel the flat index of the one whose colour is the drawing's own there: itself, but at outlines.

    There the way leads from pixel to pixel into the drawing, as long as colours go further from the ground.
    """
    height, width = distance.shape
    depth = ndimage.distance_transform_edt(~outside)
    assert isinstance(depth, np.ndarray)
    here = np.arange(height * width).reshape(height, width)
    reach = _reach((height, width))
    best, following = np.where(depth <= reach, distance + RISE, np.inf), here.copy()
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            rows = np.clip(np.arange(height) + down, 0, height - 1)[:, None]
            columns = np.clip(np.arange(width) + right, 0, width - 1)[None]
            is_better = (depth[rows, columns] > depth) & (distance[rows, columns] > best)
            best = np.where(is_better, distance[rows, columns], best)
            following = np.where(is_better, here[rows, columns], following)
    reached = here
    for _ in range(reach):
        reached = following.ravel()[reached]
    return reached


def _unmix(
    pixels: Float32[np.ndarray, "height width 3"],
    inner: Float32[np.ndarray, "height width 3"],
    ground: Float32[np.ndarray, " 3"],
) -> tuple[Float32[np.ndarray, "height width"], Float32[np.ndarray, "height width 3"]]:
    """Alpha in 0…1 and colour such that pixel = alpha · colour + (1 - alpha) · ground, with a colour near `inner`."""
    away, whole = pixels - ground, inner - ground
    alpha = np.clip((away * whole).sum(axis=2) / np.maximum((whole**2).sum(axis=2), 1), 0, 1)
    alpha[(pixels == inner).all(axis=2)] = 1
    share = alpha[..., None]
    colour = np.where(share > 0.1, ground + away / np.maximum(share, 0.1), inner)
    return alpha, colour
