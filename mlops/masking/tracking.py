"""Masks of some frames -> masks of all: tracked both ways from each, and joined between two.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3], a mask bool [H,W], True = the object. An
anchor is a frame whose mask is given.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_pipeline.cli.command import UserError
from mlops.masking.evidence import signed_distance
from mlops.masking.following import Follower
from mlops.masking.on_disk import MasksOnDisk
from mlops.masking.scene import Scene

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class Tracker(Protocol):
    """Finds an object in all frames from its mask in some."""

    def __call__(self, frames: Sequence[Frame], anchors: Mapping[int, Mask], /) -> Iterator[Mask]:
        """Track an object.

        Args:
            frames: uint8 [H,W,3], of one size, at least one; they may be on disk.
            anchors: frame number -> mask bool [H,W]; at least one of them has a pixel.

        Yields:
            The mask of each frame, in order.
        """
        ...


def track(
    frames: Sequence[Frame], anchors: Mapping[int, Mask], tracker: Tracker | None = None
) -> Iterator[Mask]:
    """Track an object through a video from the frames whose mask is known.

    Args:
        frames: uint8 [H,W,3], of one size; asked for one at a time, so they may be on disk.
        anchors: frame number, from 0 -> its mask; kept exactly. An empty one says that the object
            is not to be seen there.
        tracker: default: `by_flow`, which needs no weights.

    Yields:
        The mask of each frame, in order.

    Raises:
        UserError: at once: no anchor, one that is beyond the end or of another size, or only empty
            ones.
    """
    _check(frames, anchors)
    masks = (tracker or by_flow)(frames, anchors)
    return (anchors.get(number, mask) for number, mask in enumerate(masks))


def by_flow(frames: Sequence[Frame], anchors: Mapping[int, Mask]) -> Iterator[Mask]:
    """Track without weights: a `Tracker`.

    Before the first anchor the object is followed backwards, after the last forwards, and between
    two of them from both. Masks of what is followed backwards wait on disk.
    """
    scene = Scene(frames)
    known = {number: scene.scaled(mask) for number, mask in anchors.items()}
    numbers = sorted(known)
    first, last = numbers[0], numbers[-1]
    with MasksOnDisk() as back:
        _store(back, scene, range(first, -1, -1), known[first])
        yield from (scene.enlarged(back[number]) for number in range(first + 1))
    for one, other in pairwise(numbers):
        with MasksOnDisk() as back:
            _store(back, scene, range(other, one, -1), known[other])
            forth = _followed(scene, range(one, other), known[one])
            next(forth)
            for number, mask in zip(range(one + 1, other), forth, strict=True):
                weight = (number - one) / (other - one)
                yield scene.enlarged(_joined(mask, back[number], weight))
        yield scene.enlarged(known[other])
    forth = _followed(scene, range(last, len(frames)), known[last])
    next(forth)
    yield from map(scene.enlarged, forth)


def _check(frames: Sequence[Frame], anchors: Mapping[int, Mask]) -> None:
    if not anchors:
        raise UserError("nothing to track: give a box, points or a mask on at least one frame")
    for number, mask in anchors.items():
        if not 0 <= number < len(frames):
            raise UserError(
                f"frame {number} is not in the video: give one of its frames 0 to {len(frames) - 1}"
            )
        height, width = frames[number].shape[:2]
        if mask.shape != (height, width):
            raise UserError(
                f"the mask of frame {number} is {mask.shape[1]}x{mask.shape[0]}, the video is "
                f"{width}x{height}: give one of the video's size"
            )
    if not any(mask.any() for mask in anchors.values()):
        raise UserError("the mask is empty: mark at least one pixel of the object")


def _followed(scene: Scene, numbers: range, mask: Mask) -> Iterator[Mask]:
    """Masks of some frames in their order, the first of which is given."""
    yield mask
    if not mask.any() or len(numbers) == 1:
        yield from (mask for _ in numbers[1:])
        return
    follower = Follower(scene, numbers[0], mask)
    yield from map(follower.step, numbers[1:])


def _store(stored: MasksOnDisk, scene: Scene, numbers: range, mask: Mask) -> None:
    for number, found in zip(numbers, _followed(scene, numbers, mask), strict=True):
        stored[number] = found


def _joined(one: Mask, other: Mask, weight: float) -> Mask:
    """Between two masks: the mean outline where they meet, else the nearer one that has pixels.

    Args:
        one: followed from the earlier anchor.
        other: from the later one.
        weight: of the other, 0..1.
    """
    if not one.any() or not other.any():
        return one | other  # gone at one of the anchors, nobody knows since when
    if not (one & other).any():
        return other if weight > 0.5 else one
    return (1 - weight) * signed_distance(one) + weight * signed_distance(other) > 0
