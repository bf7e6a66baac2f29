"""What every codec requires of pixels and codes."""

from typing import Any

from model_core.errors import InvalidValue
from model_core.families.conditions import Grid


def require_pixels(pixels: Any, size: tuple[int, int]) -> None:
    """Raises InvalidValue where pictures [B, height, width, 3] are not of that height and width."""
    if pixels.shape[1:3] != size:
        raise InvalidValue(f"pixels must be [B, {size[0]}, {size[1]}, 3]; got {pixels.shape}.", "pixels")


def require_codes(codes: Any, grid: Grid) -> None:
    """Raises InvalidValue where there are more or fewer codes [B, N] than a picture has."""
    if codes.shape[1] != grid.num_codes:
        raise InvalidValue(
            f"A picture has {grid.rows} × {grid.columns} = {grid.num_codes} codes; got {codes.shape[1]}.", "codes"
        )
