"""PSNR, SSIM and Frechet distance. Pure; defined in `columns.py`.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3]; a hole is [H,W], nonzero = to be filled.
"""

import math

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from mlops.evaluation.columns import FRAME_WINDOW, HOLE_WINDOW

PEAK = 255.0

Frame = NDArray[np.uint8]
Hole = NDArray[np.uint8] | NDArray[np.bool_]


def psnr_db(truth: Frame, result: Frame) -> float:
    """PSNR of a frame in dB over all pixels and channels; inf when they are equal."""
    return _db(_squared_error(truth, result).mean())


def ssim(truth: Frame, result: Frame) -> float:
    """Mean SSIM of a frame, 1 = equal, with `frame_window` pixels as window.

    scikit-image leaves out a border of half a window before it averages, as in published numbers.
    """
    mean, _ = _structural_similarity(truth, result, frame_window(*truth.shape[:2]))
    return mean


def hole_psnr_db(truth: Frame, result: Frame, hole: Hole) -> float:
    """PSNR in dB over the pixels of the hole only; nan without a hole, inf when they are equal."""
    inside = hole.astype(bool)
    if not inside.any():
        return math.nan
    return _db(_squared_error(truth, result)[inside].mean())


def hole_ssim(truth: Frame, result: Frame, hole: Hole) -> float:
    """SSIM map (window of 11 pixels, or what fits), averaged over the hole; nan without a hole.

    Windows of pixels near the rim reach over known pixels, so a seam counts.
    """
    inside = hole.astype(bool)
    if not inside.any():
        return math.nan
    window = _largest_odd(min(HOLE_WINDOW, *truth.shape[:2]))
    _, over_frame = _structural_similarity(truth, result, window)
    return float(over_frame[inside].mean())


def frechet_distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Frechet distance of the normal distributions that two sets of features are drawn from.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), covariances with n - 1. The trace of the root is
    the nuclear norm of the product of the centred sets, which is exact also where there are fewer
    features than dimensions; a root of matrices is not.

    Args:
        one: [n, dimensions], n >= 2.
        other: [m, dimensions], m >= 2.
    """
    means = one.mean(axis=0), other.mean(axis=0)
    a = (one - means[0]) / math.sqrt(len(one) - 1)
    b = (other - means[1]) / math.sqrt(len(other) - 1)
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    between = np.square(means[0] - means[1]).sum()
    return float(between + np.square(a).sum() + np.square(b).sum() - 2 * root)


def frame_window(height: int, width: int) -> int:
    """Window of `ssim` in pixels: 65, or on a smaller frame the largest odd one up to 11."""
    if min(height, width) >= FRAME_WINDOW:
        return FRAME_WINDOW
    return _largest_odd(min(height, width, HOLE_WINDOW))


def _structural_similarity(
    truth: Frame, result: Frame, window: int
) -> tuple[float, NDArray[np.float64]]:
    """(mean without the border, map [H,W,3]) of SSIM with sample covariance, as published."""
    mean, over_frame = structural_similarity(  # type: ignore[no-untyped-call]  # scikit-image
        truth, result, channel_axis=2, data_range=PEAK, win_size=window, full=True
    )
    return float(mean), over_frame


def _squared_error(truth: Frame, result: Frame) -> NDArray[np.float64]:
    return np.square(truth.astype(np.float64) - result.astype(np.float64))


def _db(mean_squared_error: float) -> float:
    if mean_squared_error == 0:
        return math.inf
    return 10 * math.log10(PEAK**2 / mean_squared_error)


def _largest_odd(limit: int) -> int:
    return limit if limit % 2 else limit - 1
