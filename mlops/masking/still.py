"""Finds what stands still while the camera moves: a logo, a time, lines of subtitles.

In windows of frames two sums of gradients are compared: of frames as they are, and of frames that
are brought into line by the camera's motion. Edges of an overlay agree in the first and not in the
second, those of the scene the other way round; lines along the motion agree in both, and nothing is
said of them. Each thing that is found is then looked for in every frame near its window, by how
much of its gradient is there: so subtitles begin and end on their frame.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3], a mask bool [H,W]; gradients are float32
[H,W,2], (x, y), levels of 0..255 a pixel.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.cli.command import UserError
from mlops.masking.camera import Homography, displacement, motion_between
from mlops.masking.evidence import grown
from mlops.media.overlays import grown_px

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.float32]

WINDOW = 16
"""Frames that an overlay must stay to be found."""
_STEP = 4  # frames from a window to the next

_STRONG = 10.0  # levels a pixel, of a mean gradient that is an edge
_STEADY = 0.9  # mean gradient against mean strength, of something that stands still
_STEADIER = 0.25  # by how much more it agrees as it is than with the camera's motion undone
_MOST_STILL = 0.5  # share of a window's edges that keep their place, above which the scene does
_LEAST_WAY = 0.015  # of the camera in a window, as a share of the frame's shorter side
_JOINED = (0.05, 0.02)  # gaps between letters and lines that are closed, shares of the shorter side
_LEAST_SIDE = 0.02  # of a thing, likewise; thinner ones are borders
_LEAST_STILL = 0.08  # of a thing's pixels; sparser ones are scattered noise
_PRESENT = 0.5  # of a thing's gradient, that is there in a frame which has it
_LINE = 2  # times as wide as high, from which a thing is a line of letters
_LEAST_ACROSS = 0.1  # of its gradients' energy along their main way, of what is not just a line
_SAME = 0.5  # overlap of two boxes, and likeness of gradients, of one thing found twice


@dataclass(slots=True)
class Still:
    """Something that stands still."""

    box: tuple[int, int, int, int]
    """Left, top, width, height of its mask, pixels."""
    shape: Mask
    """Its mask inside the box, bool [h,w]."""
    gradient: Numbers
    """Inside the box, float32 [h,w,2]; 0 where nothing stands still."""
    first: int
    """First frame of the windows it was found in."""
    last: int
    """The last one."""
    frames: list[int]
    """Frames that have it, in order."""

    def seen_in(self, gradient: Numbers) -> bool:
        """Say whether it is in a frame, by the frame's gradient [H,W,2]."""
        left, top, width, height = self.box
        there = gradient[top : top + height, left : left + width]
        return float((there * self.gradient).sum()) > _PRESENT * float((self.gradient**2).sum())

    def lay(self, mask: Mask) -> None:
        """Add it to the mask of a frame, in place."""
        left, top, width, height = self.box
        mask[top : top + height, left : left + width] |= self.shape

    def in_words(self) -> str:
        """In a line, for people."""
        left, top, width, height = self.box
        return f"{left},{top},{width},{height} in {len(self.frames)} frames {_ranges(self.frames)}"


def find_still(frames: Iterable[Frame]) -> list[Still]:
    """Find what stands still; memory does not grow with the length of the video.

    Args:
        frames: uint8 [H,W,3], of one size.

    Raises:
        UserError: the video is too short, or its camera never moves.
    """
    found: list[Still] = []
    window, moves, count = _Window(), False, 0
    for count, frame in enumerate(frames, 1):
        window.add(frame)
        if count >= WINDOW and (count - WINDOW) % _STEP == 0 and window.moves():
            moves = True
            _merge(found, window.still(count - WINDOW, count - 1))
    if count < WINDOW:
        raise UserError(
            f"the video has {count} frames, and what stands still is told from {WINDOW} on: mask "
            "it by --box or --mask"
        )
    if not moves:
        raise UserError(
            "the camera stands still all the time, so overlays cannot be told from the picture: "
            "mask them by --box or --mask"
        )
    return found


def still_masks(frames: Iterable[Frame], things: Sequence[Still]) -> Iterator[Mask]:
    """Masks of the same frames again; fills in which frames have each thing.

    Args:
        frames: those of `find_still`.
        things: what it found.
    """
    for number, frame in enumerate(frames):
        mask = np.zeros(frame.shape[:2], np.bool_)
        gradient = gradient_of(frame)
        for thing in things:
            goes_on = bool(thing.frames) and thing.frames[-1] == number - 1
            near = thing.first - WINDOW <= number <= thing.last + WINDOW
            if (near or goes_on) and thing.seen_in(gradient):
                thing.frames.append(number)
                thing.lay(mask)
        yield mask


def gradient_of(frame: Frame) -> Numbers:
    """Gradient of a frame's brightness, float32 [H,W,2]."""
    grey = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (3, 3), 0)
    sides = (cv2.Sobel(grey, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    return np.stack([np.asarray(side, np.float32) for side in sides], axis=-1)


@final
class _Window:
    """The last frames: their gradients, and the camera's motion from each to the next."""

    def __init__(self) -> None:
        self._gradients = deque[Numbers](maxlen=WINDOW)
        self._motions = deque[Homography | None](maxlen=WINDOW - 1)
        self._last: Frame | None = None

    def add(self, frame: Frame) -> None:
        """Take in the next frame."""
        if self._last is not None:
            self._motions.append(motion_between(self._last, frame))
        self._last = frame
        self._gradients.append(gradient_of(frame))

    def moves(self) -> bool:
        """Say whether the camera moves far enough for a scene to be told from what stands still."""
        motion = self._to_last()[0]
        if motion is None:
            return False
        height, width = self._gradients[0].shape[:2]
        way = np.linalg.norm(displacement(motion, height, width), axis=-1)
        if np.median(way) <= _LEAST_WAY * min(height, width):
            return False
        mean, steady = _agreement(self._gradients)
        edges = np.linalg.norm(mean, axis=-1) > _STRONG * steady  # by their mean strength
        return bool(np.mean(steady[edges] > _STEADY) < _MOST_STILL) if edges.any() else False

    def still(self, first: int, last: int) -> list[Still]:
        """Find the things that stand still in these frames, `first` to `last`."""
        size = self._gradients[0].shape[1::-1]
        aligned = (
            np.asarray(cv2.warpPerspective(gradient, motion, size), np.float32)
            for gradient, motion in zip(self._gradients, self._to_last(), strict=True)
            if motion is not None
        )
        mean, steady = _agreement(self._gradients)
        _, steady_aligned = _agreement(aligned)
        strong = np.linalg.norm(mean, axis=-1) > _STRONG
        edges = strong & (steady > _STEADY) & (steady - steady_aligned > _STEADIER)
        parts = (part for part in _parts(edges) if _is_no_line(mean[part]))
        return [_thing(part, mean, first, last) for part in parts]

    def _to_last(self) -> list[Homography | None]:
        """Motion from each frame to the last; None across a place without hold."""
        motions: list[Homography | None] = [np.eye(3)]
        for step in reversed(self._motions):
            known = step is not None and motions[-1] is not None
            motions.append(motions[-1] @ step if known else None)  # type: ignore[operator]
        return motions[::-1]


def _agreement(gradients: Iterable[Numbers]) -> tuple[Numbers, Numbers]:
    """Mean of some gradients [H,W,2], and how far they agree, 0..1 [H,W]."""
    first, *others = gradients
    total, strength = first.copy(), np.linalg.norm(first, axis=-1)
    for gradient in others:
        total += gradient
        strength += np.linalg.norm(gradient, axis=-1)
    steady = np.linalg.norm(total, axis=-1) / np.maximum(strength, np.float32(1e-3))
    return total / np.float32(1 + len(others)), np.asarray(steady, np.float32)


def _parts(edges: Mask) -> Iterator[Mask]:
    """Edges of one thing each: those with small gaps between them."""
    side = min(edges.shape)
    wide, high = (max(3, 2 * round(share * side / 2) + 1) for share in _JOINED)
    joined = cv2.morphologyEx(
        np.pad(edges.astype(np.uint8), wide), cv2.MORPH_CLOSE, np.ones((high, wide), np.uint8)
    )[wide:-wide, wide:-wide]
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(joined)
    for number, (*_, width, height, _) in enumerate(stats):
        part = edges & (numbers == number)
        enough = np.count_nonzero(part) >= _LEAST_STILL * width * height
        if number and min(width, height) >= max(4, _LEAST_SIDE * side) and enough:
            yield part


def _is_no_line(gradients: Numbers) -> bool:
    """Say whether gradients [N,2] point in more ways than one, as those of letters and logos do.

    A straight edge that the camera moves along looks as if it stood still.
    """
    across, along = np.linalg.eigvalsh(gradients.T @ gradients)
    return bool(across > _LEAST_ACROSS * along)


def _thing(part: Mask, gradient: Numbers, first: int, last: int) -> Still:
    """What a part of the edges is of, grown for the blur of a codec.

    Its mask is the box of a line, and the convex hull of what is not as wide.
    """
    height, width = part.shape
    y, x = np.nonzero(part)
    outline = np.stack([x, y], axis=1).astype(np.int32)
    if np.ptp(x) > _LINE * np.ptp(y):
        corners = (x.min(), y.min()), (x.max(), y.min()), (x.max(), y.max()), (x.min(), y.max())
        outline = np.array(corners, np.int32)
    shape = np.zeros(part.shape, np.uint8)
    cv2.fillConvexPoly(shape, cv2.convexHull(outline), 1)
    mask = grown(shape != 0, grown_px(width, height))
    y, x = np.nonzero(mask)
    left, top, right, bottom = int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1
    inside = slice(top, bottom), slice(left, right)
    kept = np.where(part[..., np.newaxis], gradient, np.float32(0))[inside]
    box = left, top, right - left, bottom - top
    return Still(box, mask[inside].copy(), kept.copy(), first, last, [])


def _merge(found: list[Still], things: Iterable[Still]) -> None:
    """Add things to those that were found; what is one of them lengthens its time."""
    for thing in things:
        same = next((one for one in reversed(found) if _are_same(one, thing)), None)
        if same is None:
            found.append(thing)
        else:
            same.first, same.last = min(same.first, thing.first), max(same.last, thing.last)


def _are_same(one: Still, other: Still) -> bool:
    left, top = (max(one.box[at], other.box[at]) for at in (0, 1))
    right, bottom = (min(a.box[at] + a.box[at + 2] for a in (one, other)) for at in (0, 1))
    if right <= left or bottom <= top:
        return False
    ours, theirs = (
        a.gradient[top - a.box[1] : bottom - a.box[1], left - a.box[0] : right - a.box[0]]
        for a in (one, other)
    )
    norm = float(np.sqrt((one.gradient**2).sum() * (other.gradient**2).sum()))
    return float((ours * theirs).sum()) > _SAME * norm


def _ranges(numbers: Sequence[int], most: int = 4) -> str:
    """Numbers in order as ranges: 0-39, 80-119."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    words = [str(a) if a == b else f"{a}-{b}" for a, b in ranges[:most]]
    return ", ".join(words) + (" …" if len(ranges) > most else "")
