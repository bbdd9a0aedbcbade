"""Frames and masks on their way to the generator: checked, filled, their holes made smaller.

H x W frame. Frames are uint8 RGB; masks are 0 outside and one other number inside the hole. What
fills holes is no matter of this file: a fill is a function of the pairs.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .generator import unsure

Frame = Tensor  # uint8 [H, W, 3]
Mask = Tensor  # uint8 [H, W], 0 or one other number, which marks the hole


class Filled(NamedTuple):
    """A frame whose hole was filled without the generator."""

    frame: Frame
    """From other frames too; outside the hole its own pixels."""
    belief: Tensor
    """float [H, W, 2], as the generator is given it."""
    alone: Frame
    """From itself alone."""


Fill = Callable[[Iterable[tuple[Frame, Mask]]], Iterator[Filled]]
"""A video frame by frame, filled; it may read ahead by so many frames as it needs."""


def with_fill(
    pairs: Iterable[tuple[Frame, Mask]], fill: Fill
) -> Iterator[tuple[Frame, Mask, Filled]]:
    """Frames and masks with what the fill makes of them, in order."""
    waiting: deque[tuple[Frame, Mask]] = deque()

    def noted() -> Iterator[tuple[Frame, Mask]]:
        for pair in pairs:
            waiting.append(pair)
            yield pair

    for filled in fill(noted()):
        yield *waiting.popleft(), filled


def unfilled(pairs: Iterable[tuple[Frame, Mask]]) -> Iterator[Filled]:
    """Placeholders for a generator without a fill, which does not look at them."""
    nothing = torch.empty(0)
    for frame, _ in pairs:
        yield Filled(frame, nothing, frame)


def shrunk(pairs: Iterable[tuple[Frame, Mask]], fill: Fill) -> Iterator[tuple[Frame, Mask]]:
    """Frames with what was found for sure in their holes, and masks of what was not."""
    for _, mask, filled in with_fill(checked(pairs), fill):
        left = unsure((mask != 0).float().unsqueeze(0), filled.belief.permute(2, 0, 1))[0] != 0
        yield filled.frame, left.to(torch.uint8)


def checked(pairs: Iterable[tuple[Frame, Mask]]) -> Iterator[tuple[Frame, Mask]]:
    """The pairs as they are.

    Raises:
        ValueError: other types, mixed sizes, or a mask of more than two values.
    """
    shape: tuple[int, ...] | None = None
    for number, (frame, mask) in enumerate(pairs):
        if frame.dtype != torch.uint8 or frame.dim() != 3 or frame.shape[-1] != 3:
            raise ValueError(
                f"frame {number} is {frame.dtype} {tuple(frame.shape)}; wanted uint8 [H, W, 3]"
            )
        shape = shape or tuple(frame.shape)
        if tuple(frame.shape) != shape or tuple(mask.shape) != shape[:2]:
            raise ValueError(
                f"frame {number} is {tuple(frame.shape)} with a mask {tuple(mask.shape)}; "
                f"the video began with {shape}: all frames and masks must be of one size"
            )
        if not mask.numel():
            raise ValueError(f"frame {number} has no pixels: {tuple(frame.shape)}")
        if not ((mask == 0) | (mask == mask.max())).all():
            values = sorted(set(mask.flatten().tolist()))
            raise ValueError(
                f"the mask of frame {number} has {len(values)} values, from {values[0]} to "
                f"{values[-1]}: give 0 outside the hole and one number, such as 1 or 255, inside"
            )
        yield frame, mask
