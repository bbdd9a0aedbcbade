"""Fits frames of any shape to the size of a data set: cropped, letterboxed, or stretched.

Shapes that differ little are always stretched: 16:9 at 432x240, say, as everybody does
who trains on these data sets. The numbers are whole or fractions: the same everywhere.

Legend: `h`, `w` of the source, `H`, `W` of the data set; pixels.
"""

from fractions import Fraction
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Fit: TypeAlias = Literal["crop", "letterbox", "stretch"]
FITTED = {"crop": "cropped", "letterbox": "letterboxed", "stretch": "stretched"}

_SQUARE = Fraction(1)
_SAME_SHAPE = Fraction(1, 20)  # difference of two aspect ratios that nobody sees


def is_other_shape(
    size: tuple[int, int], target: tuple[int, int], aspect: Fraction = _SQUARE
) -> bool:
    """Say whether frames (w, h) are of another shape than the data set's, (W, H).

    Args:
        size: size of the source frames.
        target: size of the data set's frames.
        aspect: pixel aspect ratio (width by height) of the source.
    """
    shape = Fraction(size[0], size[1]) * aspect
    return abs(shape / Fraction(target[0], target[1]) - 1) > _SAME_SHAPE


def fitted(
    frame: NDArray[np.uint8],
    target: tuple[int, int],
    fit: Fit = "stretch",
    aspect: Fraction = _SQUARE,
) -> NDArray[np.uint8]:
    """Fit a frame, uint8 [h, w, 3], to the data set's size, uint8 [H, W, 3]; bicubic.

    Args:
        frame: source frame.
        target: (W, H).
        fit: treatment of frames of another shape: their middle, black bars, or other proportions.
        aspect: pixel aspect ratio (width by height) of the source.
    """
    rows, columns, inside = _places(frame.shape[1], frame.shape[0], target, fit, aspect)
    part = frame[rows, columns]
    if part.shape[:2] != (inside[1], inside[0]):
        image = Image.fromarray(np.ascontiguousarray(part))
        part = np.asarray(image.resize(inside, Image.Resampling.BICUBIC))
    return _centred(part, target)


def fitted_labels(
    labels: NDArray[np.uint8], target: tuple[int, int], fit: Fit = "stretch"
) -> NDArray[np.uint8]:
    """Fit a label map, uint8 [h, w], as `fitted` does its frame, uint8 [H, W]; bars are 0.

    Nearest neighbour of the centre of each pixel.
    """
    rows, columns, (width, height) = _places(labels.shape[1], labels.shape[0], target, fit, _SQUARE)
    part = labels[rows, columns]
    down = (2 * np.arange(height) + 1) * part.shape[0] // (2 * height)
    right = (2 * np.arange(width) + 1) * part.shape[1] // (2 * width)
    return _centred(part[down][:, right], target)


def _places(
    width: int, height: int, target: tuple[int, int], fit: Fit, aspect: Fraction
) -> tuple[slice, slice, tuple[int, int]]:
    """Choose the rows and columns of the source to use, and the size (W, H) that they get."""
    whole = slice(0, height), slice(0, width)
    if fit == "stretch" or not is_other_shape((width, height), target, aspect):
        return *whole, target
    wider = Fraction(width, height) * aspect / Fraction(target[0], target[1])
    if fit == "letterbox":
        if wider > 1:
            return *whole, (target[0], _rounded(target[1] / wider))
        return *whole, (_rounded(target[0] * wider), target[1])
    if wider > 1:
        return whole[0], _middle(width, _rounded(width / wider)), target
    return _middle(height, _rounded(height * wider)), whole[1], target


def _middle(length: int, part: int) -> slice:
    start = (length - part) // 2
    return slice(start, start + part)


def _rounded(value: Fraction) -> int:
    return max(1, round(value))


def _centred(part: NDArray[np.uint8], target: tuple[int, int]) -> NDArray[np.uint8]:
    """Put a picture in the middle of a black one of (W, H)."""
    height, width = part.shape[:2]
    if (width, height) == target:
        return part
    whole = np.zeros((target[1], target[0], *part.shape[2:]), np.uint8)
    rows, columns = _middle(target[1], height), _middle(target[0], width)
    whole[rows, columns] = part
    return whole
