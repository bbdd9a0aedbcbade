"""Colours of an object against those around it.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3], a mask bool [H,W].
"""

from typing import final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]  # scipy has no types

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.float32]

_BINS = 16  # of each channel of Lab
_SMOOTH = 0.7  # bins, standard deviation
_RARE = 2e-4  # share of the pixels below which a colour says nothing
_MOST = 2.0  # log odds


@final
class Colours:
    """Histograms of the object and of what is near it, which follow slowly what they are shown."""

    def __init__(self) -> None:
        self._shares: NDArray[np.float64] | None = None  # [object or near it, bins of Lab]

    def learn(self, frame: Frame, mask: Mask, near: Mask, rate: float) -> None:
        """Take in a frame.

        Args:
            frame: uint8 [H,W,3].
            mask: the object.
            near: the part of the frame that it is told apart in.
            rate: weight of this frame against all before, 0..1.
        """
        bins = _binned(frame)
        shares = np.stack([_shares(bins[where]) for where in (mask, near & ~mask)])
        if self._shares is not None:
            shares = (1 - rate) * self._shares + rate * shares
        self._shares = shares

    def log_odds(self, frame: Frame) -> Numbers:
        """How much more a pixel's colour is the object's: float32 [H,W]."""
        assert self._shares is not None
        of_object, of_others = self._shares + _RARE
        odds = np.clip(np.log(of_object / of_others), -_MOST, _MOST).astype(np.float32)
        return np.asarray(odds[_binned(frame)], np.float32)


def _binned(frame: Frame) -> NDArray[np.intp]:
    lab = (cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).astype(np.intp) * _BINS) >> 8
    return np.asarray((lab[..., 0] * _BINS + lab[..., 1]) * _BINS + lab[..., 2], np.intp)


def _shares(bins: NDArray[np.intp]) -> NDArray[np.float64]:
    counts = np.bincount(bins, minlength=_BINS**3).astype(np.float64).reshape((_BINS,) * 3)
    return np.asarray(gaussian_filter(counts, _SMOOTH).ravel() / max(1, len(bins)), np.float64)
