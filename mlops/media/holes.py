"""Holes of a frame: a mask, dilated and blended at its edge, at any size.

Legend: `H`, `W` pixels; a mask is uint8 [H,W], nonzero = hole.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Mask = NDArray[np.uint8]

# Reach of bicubic resizing in pixels of the smaller frame: known pixels nearer to the hole than
# this have been mixed with what was in it.
_BICUBIC_REACH = 2


@dataclass(frozen=True, slots=True)
class Hole:
    """The hole of one frame, and the share of the model's answer that is taken."""

    mask: Mask
    """1 where the model fills."""
    weight: NDArray[np.float32] | None
    """[H,W], share of the answer in the result: 1 in the hole, down to 0 at the end of a soft
    edge; None = 1 wherever the model fills."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Processing of masks before they are used, in this order."""

    invert: bool = False
    """Fill what is not masked."""
    dilate: int = 0
    """Pixels by which holes grow, in all directions."""
    blend_width: int = 0
    """Pixels around the dilated hole over which the result is blended into the frame."""

    def holes(self, masks: Iterator[Mask]) -> Iterator[Hole]:
        """The holes of masks; what stays the same is worked out once."""
        last, hole = None, None
        for mask in masks:
            if hole is None or mask is not last:
                last, hole = mask, self.hole(mask)
            yield hole

    def hole(self, mask: Mask) -> Hole:
        """The hole of one mask."""
        inside = (mask == 0) if self.invert else (mask != 0)
        if (not self.dilate and not self.blend_width) or not inside.any():
            return Hole(inside.astype(np.uint8), None)
        away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        if not self.blend_width:
            return Hole((away <= self.dilate).astype(np.uint8), None)
        ramp = 1 - (away - self.dilate) / (self.blend_width + 1)
        weight: NDArray[np.float32] = np.clip(ramp, 0, 1).astype(np.float32)
        return Hole((weight > 0).astype(np.uint8), weight)


@dataclass(slots=True)
class Extent:
    """How much of a video is hole, counted frame by frame."""

    frames: int = 0
    """Frames counted."""
    with_hole: int = 0
    """Frames with a hole."""
    whole: int = 0
    """Frames that are hole all over."""
    shares: float = 0.0
    """Sum over the frames of the share of their pixels that is hole, 0 to 1."""

    def add(self, mask: Mask) -> None:
        """Count the next frame."""
        share = int(np.count_nonzero(mask)) / mask.size
        self.frames += 1
        self.with_hole += share > 0
        self.whole += share == 1
        self.shares += share

    @property
    def share(self) -> float:
        """Mean share of a frame that is hole, over the frames with one; 0 without any."""
        return self.shares / self.with_hole if self.with_hole else 0.0

    def in_words(self) -> str:
        """Return the counts in a line; loud where nothing or everything was hole."""
        if not self.with_hole:
            return (
                f"warning: hole: none in {self.frames} frames, nothing was filled: MASK is black "
                "all over (--invert-mask fills what is black)"
            )
        said = f"hole: {self.share:.1%} of the frame, in {self.with_hole} of {self.frames} frames"
        if self.whole:
            said = (
                f"warning: {said}; {self.whole} are hole all over: MASK is not black there "
                "(--invert-mask fills what is black)"
            )
        return said.replace("%", " %")


def shrink(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask at another size (width, height) in which no hole pixel is lost.

    A pixel is hole where any hole pixel falls in it, or so near that bicubic resizing has mixed
    what was in the hole into it. The result is 0 or 1; the same array when the size is the same.
    """
    if (mask.shape[1], mask.shape[0]) == size:
        same: Mask = (mask != 0).astype(np.uint8)
        return same
    share = Image.fromarray((mask != 0).astype(np.float32))  # mode F: small shares stay above 0
    touched = np.asarray(share.resize(size, Image.Resampling.BOX)) > 0
    wide = Image.fromarray(touched.astype(np.uint8)).filter(
        ImageFilter.MaxFilter(2 * _BICUBIC_REACH + 1)
    )
    grown: Mask = np.array(wide, dtype=np.uint8)
    return grown
