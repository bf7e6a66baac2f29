"""A picture to draw on: the uploads of a request, made fit for the model."""

from dataclasses import dataclass

import numpy as np

from deployments.config import Limits
from deployments.requests.schemas import Upload
from model_core.errors import InvalidValue
from model_core.pictures import editing, images


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Canvas:
    """The picture at the model's size, uint8 [side, side, 3], and where it is clear (alpha 0), if it is anywhere."""

    image: np.ndarray
    alpha: np.ndarray | None

    def repaint(self, grid: tuple[int, int], keep: float) -> np.ndarray:
        """Marks the codes to draw anew, bool [rows, columns]: the clear ones, else the rows below `keep`."""
        if self.alpha is None:
            return editing.repaint_below(keep, grid)
        return editing.repaint_clear(self.alpha, grid)


def read_canvas(upload: Upload, side: int, limits: Limits) -> Canvas:
    """Decodes the uploads; the first image is drawn on, the others are only checked.

    Pictures that are not square lose what is beyond the largest square in their middle.

    Raises:
      InvalidValue: an upload is no picture, too large, or does not go with the others; names it.
    """
    image, alpha = images.read_with_alpha(upload.images[0], "image", limits.max_upload_pixels)
    for other in upload.images[1:]:
        images.read_with_alpha(other, "image", limits.max_upload_pixels)
    if upload.mask is not None:
        alpha = _read_mask(upload.mask, image.shape[:2], limits)
    elif alpha is not None and alpha.all():
        alpha = None
    if alpha is not None:
        alpha = images.centre_square(alpha)
        if alpha.all():
            raise InvalidValue("Nothing is to be repainted: no pixel of the middle square is clear (alpha 0).", "mask")
    return Canvas(image=images.square(image, side), alpha=alpha)


def read_start(upload: Upload, width: int, height: int, limits: Limits) -> np.ndarray:
    """Decodes the first upload, uint8 [height, width, 3], the others being only checked; all of it, fitted in.

    Raises:
      InvalidValue: an upload is no picture, or too large; or there is a mask.
    """
    if upload.mask is not None:
        raise InvalidValue("A picture is refined as a whole: leave mask out.", "mask")
    pictures = [images.read_with_alpha(each, "image", limits.max_upload_pixels)[0] for each in upload.images]
    return images.fit(pictures[0], width, height)


def _read_mask(mask: bytes, expected: tuple[int, ...], limits: Limits) -> np.ndarray:
    _, alpha = images.read_with_alpha(mask, "mask", limits.max_upload_pixels)
    if alpha is None:
        raise InvalidValue("mask must have an alpha channel: alpha 0 marks what to repaint.", "mask")
    if alpha.shape != expected:
        got, wanted = (f"{shape[1]}x{shape[0]}" for shape in (alpha.shape, expected))
        raise InvalidValue(f"mask must have the size of the image, {wanted}; got {got}.", "mask")
    return alpha
