"""Known pixels of other frames carried into a hole along optical flow.

From a pixel in the hole the flow is followed from frame to frame, forwards and backwards, until it
comes to a pixel that is known. Inside a hole the flow itself is not known, and near it it may be
wrong: there it is continued from around, where the flows forth and back agree. How far apart they
are along the way says how much the pixel that was found is to be believed.

Legend: `H`, `W` pixels, `N` pixels of a hole; frames uint8 RGB [H,W,3]; masks uint8 [H,W], nonzero
= hole. `n` counts frames from the pixel to where it was found.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from numpy.typing import NDArray

from .diffusion import diffuse, extended
from .flow import Flow, FlowSource, dis

Frame = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Numbers = NDArray[np.float32]

REACH = 20
"""Frames that are looked at on each side."""

_MOST_APART_PX = 5.0  # beyond it the flows disagree so far that diffusion is the better guess
_WRONG_PX = 4  # around the hole: there DIS matches patches that reach into it
_DOUBTED_PX = 24  # around the hole: there its coarser scales do, and flows that disagree are wrong
_DISAGREE_PX = 0.5
_NO_FLOW_PX = 1.0  # doubt where no flow is known in the whole frame, which is taken to stand still
_LEAST_WEIGHT = np.float32(0.02)  # so that two sides that disagree with themselves are mixed
_LEAST_PX = np.float32(0.1)  # flows agree no better than to a tenth of a pixel
_SURE = 100.0  # trust from which on a colour is taken as it was found
_BLOCK = 1024  # columns in which points are handed to OpenCV, whose images have at most 32767
_TINY = np.float32(1e-12)
_KNOWN = 0.01  # share of the hole in what is mixed of four pixels, below which it counts as known


@dataclass(frozen=True, slots=True)
class Filled:
    """A frame without a hole, and how far each of its pixels is to be believed."""

    frame: Frame
    """uint8 [H,W,3]; outside the hole the frame's own pixels."""
    belief: Numbers
    """float32 [H,W,2] in 0..1: nearness 1 / (1 + n) of the frame that a pixel was found in, and
    agreement exp(-e) of the flows on the way, e in pixels. Known pixels: 1, 1; not found: 0, 0.
    """
    alone: Frame
    """uint8 [H,W,3]: the frame filled by diffusion, without a look at any other."""


Pairs = Iterable[tuple[Frame, Mask]]
Fill = Callable[[Pairs], Iterator[Filled]]
"""A video frame by frame, filled."""


def diffused(pairs: Pairs) -> Iterator[Filled]:
    """Fill a video by diffusion, each frame on its own."""
    for frame, mask in pairs:
        hole = mask != 0
        alone = diffuse(frame, hole)
        yield Filled(alone, known(hole), alone)


def propagated(
    pairs: Pairs, source: FlowSource | None = None, reach: int = REACH
) -> Iterator[Filled]:
    """Fill a video by propagation, in memory that does not grow with its length.

    Args:
        pairs: frames and masks in order, each the neighbour of the one before.
        source: of the flow; default: DIS.
        reach: frames that are looked at on each side.

    Yields:
        each frame filled, `reach` frames behind what was read.
    """
    video, done = Propagation(source, reach=reach), 0
    for frame, mask in pairs:
        video.add(frame, mask)
        if video.count > done + reach:
            yield video.filled(done)
            done += 1
            video.forget(before=done - reach)
    for number in range(done, video.count):
        yield video.filled(number)


@final
class Propagation:
    """A stretch of a video, any of whose frames can be filled from the others.

    Args:
        source: of the flow; default: DIS.
        first: number of the first frame, for the source.
        reach: frames that are looked at on each side.
    """

    def __init__(
        self, source: FlowSource | None = None, *, first: int = 0, reach: int = REACH
    ) -> None:
        self._source, self._first, self._reach = source or dis(), first, reach
        self._holes: dict[int, NDArray[np.bool_]] = {}
        self._diffused: dict[int, Frame] = {}
        self._flows: dict[int, tuple[Flow, Flow]] = {}  # between a frame and the next one
        self.count = 0  # frames added so far

    def add(self, frame: Frame, mask: Mask) -> None:
        """Add the next frame: uint8 [H,W,3], and its mask uint8 [H,W], nonzero = hole."""
        hole = mask != 0
        self._holes[self.count], self._diffused[self.count] = hole, diffuse(frame, hole)
        self.count += 1

    def forget(self, before: int) -> None:
        """Drop the frames before one."""
        for held in (self._holes, self._diffused, self._flows):
            for number in [one for one in held if one < before]:
                del held[number]

    def filled(self, number: int) -> Filled:
        """A frame, filled from those within reach that are held; frames count from 0."""
        hole, alone = self._holes[number], self._diffused[number]
        belief = known(hole)
        if not hole.any():
            return Filled(alone, belief, alone)
        sides = [self._found(number, way) for way in (1, -1)]
        weights = np.stack([side.weight for side in sides])[..., np.newaxis]  # [2, N, 1]
        values = np.stack([side.values for side in sides])  # [2, N, 5]
        mixed = (weights * values).sum(axis=0) / np.maximum(weights.sum(axis=0), _TINY)
        belief[hole] = mixed[:, 3:]
        return Filled(_joined(alone, hole, mixed), belief, alone)

    def _found(self, number: int, way: int) -> "_Found":
        """Follow the flow from each pixel of a hole, to later (1) or earlier (-1) frames."""
        rows, columns = np.nonzero(self._holes[number])
        found = _Found(np.zeros((len(rows), 5), np.float32), np.zeros(len(rows), np.float32))
        at = np.stack([columns, rows], axis=1).astype(np.float32)  # [N, (x, y)]
        apart = np.zeros(len(rows), np.float32)
        seeking = np.arange(len(rows))
        edge = np.array(self._holes[number].shape[::-1]) - 1
        for n in range(1, self._reach + 1):
            here, there = number + (n - 1) * way, number + n * way
            if there not in self._holes or not len(seeking):
                break
            away, back = self._flow(here, there)
            step, doubt = np.split(_at(away, at), (2,), axis=1)
            at = at + step
            returned = np.hypot(*(step + _at(back, at)[:, :2]).T)
            apart = apart + np.maximum(returned, doubt[:, 0])
            follow = ((at >= 0) & (at <= edge)).all(axis=1) & (apart < _MOST_APART_PX)
            at, apart, seeking = at[follow], apart[follow], seeking[follow]
            hidden = _at(self._holes[there].astype(np.uint8) * 255, at) >= _KNOWN * 255
            come = ~hidden  # all but a little of which hides no pixel, and that little is diffused
            colours = _at(self._diffused[there], at[come], cv2.INTER_CUBIC)
            found.set(seeking[come], n, apart[come], colours)
            at, apart, seeking = at[hidden], apart[hidden], seeking[hidden]
        return found

    def _flow(self, here: int, there: int) -> tuple[Flow, Flow]:
        """Flow from a frame to its neighbour, and back."""
        earlier = min(here, there)
        if earlier not in self._flows:
            forward, backward = self._source(
                self._first + earlier, self._diffused[earlier], self._diffused[earlier + 1]
            )
            self._flows[earlier] = (
                _continued(forward, backward, self._holes[earlier]),
                _continued(backward, forward, self._holes[earlier + 1]),
            )
        forward, backward = self._flows[earlier]
        return (forward, backward) if here == earlier else (backward, forward)


@dataclass(frozen=True, slots=True)
class _Found:
    """Findings for each pixel of a hole on one side."""

    values: Numbers
    """[N, (R, G, B, nearness, agreement)]."""
    weight: Numbers
    """[N]; 0 = nothing found."""

    def set(self, which: NDArray[np.int64], n: int, apart: Numbers, colours: Numbers) -> None:
        agreement = np.exp(-apart)
        self.values[which, :3] = colours
        self.values[which, 3] = 1 / (1 + n)
        self.values[which, 4] = agreement
        self.weight[which] = (agreement + _LEAST_WEIGHT) / n


def _joined(alone: Frame, hole: NDArray[np.bool_], found: Numbers) -> Frame:
    """Known pixels and what was found, as one frame: smooth between, where little was found.

    Args:
        alone: uint8 [H,W,3], whose known pixels are taken.
        hole: [H,W].
        found: [N, (R, G, B, nearness, agreement)], agreement 0 where nothing was found.
    """
    trust = np.zeros(hole.shape, np.float32)
    trust[hole] = _trust(found[:, 4])
    if not trust.any():
        return alone
    colours = alone.astype(np.float32)
    colours[hole] = found[:, :3]
    # In a frame that is all hole there is nothing to fit to: what was found is taken as it is.
    open_to_change = trust == 0 if hole.all() else hole & (trust < _SURE)
    colours = extended(colours, open_to_change, trust)
    frame = alone.copy()
    frame[hole] = np.clip(np.round(colours[hole]), 0, 255)
    return frame


def _trust(agreement: Numbers) -> Numbers:
    """1 / e^3 for flows that are e pixels apart, 0 where nothing was found.

    It stands for one over the variance of a colour that was found. Measured on real videos and on
    filmed photographs, beside other powers (README of the benchmarks).
    """
    apart = -np.log(np.maximum(agreement, _TINY))
    return np.asarray((agreement > 0) * np.maximum(apart, _LEAST_PX) ** -3, np.float32)


def known(hole: NDArray[np.bool_]) -> Numbers:
    """The belief before anything was found: [H,W,2]."""
    return np.repeat((~hole).astype(np.float32)[..., np.newaxis], 2, axis=2)


def _continued(flow: Flow, back: Flow, hole: NDArray[np.bool_]) -> Flow:
    """A flow whose part that the hole has spoilt is continued from around it, and its doubt too.

    What is continued smoothly agrees with itself: where the flows around disagree, as over a cut,
    that must be continued as well.

    Args:
        flow: from the frame with the hole.
        back: from the other frame to it.
        hole: [H,W].

    Returns:
        [H,W,(x, y, doubt)], doubt in pixels as far as it is too large; [H,W,2] without a hole.
    """
    if not hole.any():
        return flow
    height, width = hole.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    there = cv2.remap(
        back, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    apart = np.hypot(*np.moveaxis(flow + there, -1, 0))
    disagree = apart > _DISAGREE_PX
    spoilt = _grown(hole, _WRONG_PX) | (_grown(hole, _DOUBTED_PX) & _grown(disagree, 2))
    if spoilt.all():
        return np.dstack([np.zeros_like(flow), np.full_like(apart, _NO_FLOW_PX)])
    return extended(np.dstack([flow, apart * disagree]), spoilt)


def _grown(where: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    box = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return np.asarray(cv2.dilate(where.astype(np.uint8), box) != 0)


def _at(image: Frame | Numbers, points: Numbers, interpolation: int = cv2.INTER_LINEAR) -> Numbers:
    """Sample at points [N, (x, y)] of an image [H,W] or [H,W,C]: [N] or [N, C]."""
    count, channels = len(points), image.shape[2:]
    if not count:
        return np.zeros((0, *channels), np.float32)
    padded = np.pad(points, ((0, -count % _BLOCK), (0, 0)), mode="edge").reshape(-1, _BLOCK, 2)
    x, y = np.ascontiguousarray(padded[..., 0]), np.ascontiguousarray(padded[..., 1])
    values = cv2.remap(image, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values.reshape(-1, *channels)[:count], np.float32)
