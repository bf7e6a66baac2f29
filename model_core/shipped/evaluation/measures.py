"""Measures of pictures and rankings as plain functions of arrays.

SSIM is that of Wang et al. (2004), on luma, with their 11-pixel Gaussian window.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

RESAMPLES = 10_000
LUMA = np.array([0.299, 0.587, 0.114])


def own_pixels(image: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Where the picture is not its white background: what is drawn, with its holes, and two pixels around it."""
    drawn = ndimage.binary_fill_holes((image < 255).any(axis=2))
    return ndimage.binary_dilation(drawn, iterations=2)


def psnr(got: UInt8[np.ndarray, "h w 3"], want: UInt8[np.ndarray, "h w 3"]) -> float:
    """Peak signal-to-noise ratio in dB over the own pixels of `want`; infinite for equal pictures."""
    where = own_pixels(want) if (want < 255).any() else np.ones(want.shape[:2], bool)
    squared = np.mean((got[where].astype(np.float64) - want[where]) ** 2)
    return float(10 * np.log10(255**2 / squared)) if squared else float("inf")


def ssim(got: UInt8[np.ndarray, "h w 3"], want: UInt8[np.ndarray, "h w 3"]) -> float:
    """Structural similarity of two pictures, 1 for equal ones, over all of their pixels."""

    def blur(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(values, 1.5, radius=5)

    x, y = got @ LUMA, want @ LUMA
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(values.mean())


def hits(
    logits: Float[np.ndarray, "*batch classes"], labels: Int[np.ndarray, "*batch"], k: int
) -> Bool[np.ndarray, "*batch"]:
    """Whether the label is among the `k` classes with the largest logits; a tie counts against it."""
    of_label = np.take_along_axis(logits, labels[..., None], axis=-1)
    return (logits >= of_label).sum(axis=-1) <= k


def interval(values: Float[np.ndarray, " rows"], seed: int = 0) -> tuple[float, float]:
    """A 95 % confidence interval of the mean, by resampling rows."""
    chosen = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[chosen].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
