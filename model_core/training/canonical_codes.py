"""The image codes of training pictures, without what tells a picture nothing.

An encoder spells empty background with hundreds of codes, and one drawing on two colours with two sets of codes, since
it sees what is near and how bright the whole is. A model that must predict such choices spends half of its effort on
them. The decoder is trained afterwards to draw the same pictures from the canonical codes.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int, UInt8

from model_core.training.data import Item

ROUNDING = 2  # of 255; by so much two pictures may differ besides their backgrounds

Pixels = UInt8[np.ndarray, "M height width 3"]
Encode = Callable[[Pixels], Int[np.ndarray, "M N"]]


def canonical_codes(items: Sequence[Item], pixels: Pixels, encode: Encode) -> Int[np.ndarray, "M N"]:
    """Codes of `pixels`, in which one drawing on several colours differs at places of background alone.

    A background has the colour of the picture's first pixel. Places that show nothing else get the commonest code of a
    picture of that colour alone; all others those of the first picture with this drawing.

    Args:
      items: what the pictures show; drawings are only compared within a concept and a style.
      pixels: pictures, bytes 0…255.
    """
    codes = encode(pixels)
    side = round(codes.shape[1] ** 0.5)
    count, height, width, _ = pixels.shape
    places = pixels.reshape(count, side, height // side, side, width // side, 3)
    is_background = (places == pixels[:, :1, None, :1, None]).all(axis=(2, 4, 5)).reshape(codes.shape)
    colors, which = np.unique(pixels[:, 0, 0], axis=0, return_inverse=True)
    alone = encode(np.broadcast_to(colors[:, None, None], (len(colors), height, width, 3)))
    commonest = np.array([np.bincount(row).argmax() for row in alone])
    drawings = codes[_first_of_drawing(items, pixels)]
    return np.where(is_background, commonest[which.reshape(-1, 1)], drawings)


def _first_of_drawing(items: Sequence[Item], pixels: Pixels) -> Int[np.ndarray, " M"]:
    """For each picture, the first one that differs from it in its background at the most."""
    first = np.arange(len(items))
    of_thing: dict[tuple[str, str], list[int]] = {}
    for place, item in enumerate(items):
        drawings = of_thing.setdefault((item.concept, item.style), [])
        first[place] = next((one for one in drawings if _is_one_drawing(pixels[one], pixels[place])), place)
        if first[place] == place:
            drawings.append(place)
    return first


def _is_one_drawing(one: UInt8[np.ndarray, "height width 3"], other: UInt8[np.ndarray, "height width 3"]) -> bool:
    """Whether each pixel differs by a share of what the backgrounds differ by, as if laid on both."""
    difference = one.astype(np.float64) - other
    of_backgrounds = difference[0, 0]
    if not of_backgrounds.any():
        return not difference.any()
    shares = (difference @ of_backgrounds / (of_backgrounds @ of_backgrounds)).clip(0, 1)
    return bool((abs(difference - shares[..., None] * of_backgrounds) <= ROUNDING).all())
