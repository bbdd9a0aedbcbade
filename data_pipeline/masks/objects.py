"""Hole masks from the annotated objects of another video: a pure function of a seed.

The hole has the shape and the motion of a real object, and the truth behind it is known, because
the object is not in the video that is masked.

Legend: T masks, H rows, W columns, K annotated frames that show the object. 1 = hole, 0 = known.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from data_pipeline.format import draws
from data_pipeline.sources.fit import Fit, fitted_labels

SMALLEST, LARGEST = 0.005, 0.5  # share of a frame that a usable object covers
_LABELS = 255  # 255 itself says "ignore", 0 is the background


class NoObject(ValueError):  # noqa: N818 (the next donor is tried)
    """A donor has no object of a usable size."""


def object_mask_frames(
    annotations: Sequence[tuple[int, NDArray[np.uint8]]],
    seed: int,
    frames: int,
    height: int,
    width: int,
    fit: Fit = "stretch",
) -> Iterator[NDArray[np.uint8]]:
    """Make masks of one object of a donor, one frame at a time, uint8 [H, W] of 0 and 1 (1 = hole).

    Between two annotated frames the shape of the nearer one moves along the straight line between
    their centroids. The object is played forwards or backwards, and turns at the ends where the
    donor shows it for less than `frames`.

    Args:
        annotations: (frame, label map uint8 [h, w]) of the donor, frames ascending and counted as
            in the donor's video: one frame there is one mask here. 0 = background, 255 = ignore.
            Read twice, one at a time: a sequence that loads on demand keeps memory low.
        seed: chooses object, start and direction.
        frames: number of masks.
        height: rows of a mask.
        width: columns of a mask.
        fit: treatment of label maps of another shape, as for the frames.

    Raises:
        NoObject: no object covers 0.5 % to 50 % of a frame; at the call, not at the first mask.
    """
    which, start, direction = draws.words(seed, "mask object", 0, 3)
    size = width, height
    sizes = [_areas(fitted_labels(labels, size, fit)) for _, labels in annotations]
    runs = _longest_runs(np.array(sizes).reshape(-1, _LABELS) / (height * width))
    if not runs:
        raise NoObject(
            f"{len(annotations)} annotated frames were searched and no object covers "
            f"{SMALLEST:.1%} to {LARGEST:.0%} of one: try another donor"
        )
    label, run = runs[draws.below(which, len(runs))]
    keys = (
        (time, fitted_labels(labels, size, fit))
        for time, labels in map(annotations.__getitem__, run)
    )
    track = _track(keys, label, height, width)
    first, last = int(track.times[0]), int(track.times[-1])
    times = _times(last - first, frames, start, draws.below(direction, 2) == 1)
    return (track.mask(first + time) for time in times)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Track:
    """Shapes and places of one object in a run of annotated frames, at the size of the masks."""

    times: NDArray[np.int64]
    """Frame numbers in the donor, ascending, [K]."""
    shapes: tuple[NDArray[np.uint8], ...]
    """Its pixels, packed to bits, K of them."""
    centroids: NDArray[np.float64]
    """(row, column) in pixels, [K, 2]."""
    size: tuple[int, int]
    """H, W."""

    def mask(self, time: int) -> NDArray[np.uint8]:
        """Return the object at one frame of the donor, uint8 [H, W]."""
        after = int(np.searchsorted(self.times, time))
        if self.times[after] == time:
            return self._shape(after)
        before = after - 1
        share = (time - self.times[before]) / (self.times[after] - self.times[before])
        way = self.centroids[after] - self.centroids[before]
        near, rest = (before, share) if share <= 0.5 else (after, share - 1)
        down, right = np.rint(way * rest).astype(int).tolist()
        return _moved(self._shape(near), down, right)

    def _shape(self, key: int) -> NDArray[np.uint8]:
        height, width = self.size
        return np.unpackbits(self.shapes[key], count=height * width).reshape(height, width)


def _track(
    annotations: Iterable[tuple[int, NDArray[np.uint8]]], label: int, height: int, width: int
) -> _Track:
    times, shapes, centroids = [], [], []
    for time, labels in annotations:
        shape = labels == label
        times.append(time)
        shapes.append(np.packbits(shape))
        centroids.append([_middle(shape.sum(axis=1)), _middle(shape.sum(axis=0))])
    return _Track(
        times=np.array(times),
        shapes=tuple(shapes),
        centroids=np.array(centroids),
        size=(height, width),
    )


def _longest_runs(shares: NDArray[np.float64]) -> list[tuple[int, list[int]]]:
    """Find (label, annotated frames) of each usable object, from shares [frames, labels].

    An object may leave and come back: only its longest run is used, the first of equals.
    """
    usable = (shares >= SMALLEST) & (shares <= LARGEST)
    runs = []
    for label in np.flatnonzero(usable.any(axis=0)).tolist():
        keys = np.flatnonzero(usable[:, label]).tolist()
        # In a run, place minus rank is the same.
        ranked = groupby(enumerate(keys), lambda ranked: ranked[1] - ranked[0])
        runs.append((label, max(([key for _, key in run] for _, run in ranked), key=len)))
    return runs


def _times(length: int, frames: int, word: int, backwards: bool) -> Iterator[int]:
    """Choose the frame of a track of `length` steps for each mask, forth and back."""
    room = length - (frames - 1)
    # A track that is long enough is not turned; else any place of the way there and back will do.
    start = draws.below(word, room + 1 if room >= 0 else length + 1)
    period = max(2 * length, 1)
    first = start + length * backwards
    return (min(at % period, -at % period) for at in range(first, first + frames))


def _middle(counts: NDArray[np.int64]) -> float:
    """Return the mean index of pixels that are counted by their index."""
    return float(counts @ np.arange(len(counts)) / counts.sum())


def _areas(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pixels of each label, [255]; background and ignored pixels count 0."""
    areas = np.bincount(labels.ravel(), minlength=256)[:_LABELS]
    areas[0] = 0
    return areas


def _moved(mask: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    """Shift a shape, cut at the border."""
    height, width = mask.shape
    moved = np.zeros_like(mask)
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = mask[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved
