"""Cuts an object out of a frame by log odds that speak for and against each pixel.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3], a mask bool [H,W]; odds are float32 [H,W],
natural logarithms, above 0 = the object.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.float32]

_NOISE_SPREADS = 2.0  # standard deviations above the mean from which a difference means something
_LEAST_LEVELS = 6.0  # of 255; smaller differences are a codec's
_MOST_LEVELS = 100.0  # beyond it a difference says no more
_MOVED_ODDS = (-3.0, 2.0)
_FILTER_EPSILON = 1e-3  # variance of grey, 0..1, above which the filter takes it for an edge
_FILTER_RADIUS = 2
_CLOSED_PX = 2  # gaps up to twice this are closed
_TINY = 1e-6


def moved_odds(moved: Numbers, outside: Mask) -> Numbers:
    """Odds by how far a frame differs from the background (`Camera.moved`).

    What counts is how far it does so elsewhere around: leaves and grain differ everywhere.

    Args:
        moved: levels, NaN where nothing is known; the odds are 0 there.
        outside: where the object is not, so that the noise can be measured.
    """
    known = ~np.isnan(moved)
    levels = np.where(known, np.minimum(moved, _MOST_LEVELS), 0).astype(np.float32)
    weight = (outside & known).astype(np.float32)
    sigma = min(moved.shape) / 8

    def around(values: Numbers) -> Numbers:
        return np.asarray(cv2.GaussianBlur(values * weight, (0, 0), sigma), np.float32) / total

    total = np.asarray(cv2.GaussianBlur(weight, (0, 0), sigma), np.float32) + np.float32(_TINY)
    mean = around(levels)
    spread = np.sqrt(np.maximum(around(levels * levels) - mean * mean, 0))
    least = np.maximum(mean + _NOISE_SPREADS * spread, _LEAST_LEVELS)
    odds = np.clip(2 * (levels - least) / least, *_MOVED_ODDS)
    return np.where(known, odds, 0).astype(np.float32)


def cut(frame: Frame, odds: Numbers, inside: Mask) -> Mask:
    """Cut along the edges of the picture where the odds are above 0, and close small gaps.

    Odds are smoothed by a guided filter (He et al. 2013): alike pixels decide together.

    Args:
        frame: uint8 [H,W,3].
        odds: float32 [H,W].
        inside: nothing is cut out elsewhere.
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255)
    smooth = _guided(grey, odds)
    found = ((smooth > 0) & inside).astype(np.uint8)
    closed = cv2.morphologyEx(found, cv2.MORPH_CLOSE, disc(_CLOSED_PX))
    return np.asarray(closed, np.bool_)


def parts(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Connected parts of a mask: their numbers [H,W], 0 = none, and the area of each number."""
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = np.asarray(stats[:, cv2.CC_STAT_AREA], np.int32)
    areas[0] = 0
    return np.asarray(numbers, np.int32), areas


def touching(mask: Mask, other: Mask) -> Mask:
    """Return the connected parts of a mask that have a pixel in common with another."""
    numbers, areas = parts(mask)
    kept = np.zeros(len(areas), np.bool_)
    kept[numbers[mask & other]] = True
    kept[0] = False
    return np.asarray(kept[numbers], np.bool_)


def grown(mask: Mask, radius: int) -> Mask:
    """A mask grown in all directions, pixels."""
    if radius < 1:
        return mask
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc(radius)), np.bool_)


def disc(radius: int) -> NDArray[np.uint8]:
    """Structuring element of a radius."""
    size = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def signed_distance(mask: Mask) -> Numbers:
    """Distance to the edge of a mask, pixels, positive inside; far away where there is no edge."""
    if not mask.any() or mask.all():
        far = float(sum(mask.shape))
        return np.full(mask.shape, far if mask.any() else -far, np.float32)
    inside, outside = (
        cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        for part in (mask, ~mask)
    )
    return np.asarray(inside - outside, np.float32)


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union, J; 1 for two that are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def _guided(guide: Numbers, values: Numbers) -> Numbers:
    side = 2 * _FILTER_RADIUS + 1

    def mean(of: NDArray[Any]) -> Numbers:
        return np.asarray(cv2.blur(of, (side, side)), np.float32)

    mean_guide, mean_values = mean(guide), mean(values)
    covariance = mean(guide * values) - mean_guide * mean_values
    variance = mean(guide * guide) - mean_guide * mean_guide
    slope = covariance / (variance + np.float32(_FILTER_EPSILON))
    return mean(slope) * guide + mean(mean_values - slope * mean_guide)
