"""Clips of one iteration, as tensors.

B clips of a rank's share, T frames, H x W frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.model.generator import unsure


@dataclass(frozen=True, slots=True)
class Pixels:
    """One clip, as arrays."""

    frames: NDArray[np.uint8]
    """uint8 [T,H,W,3], the truth."""
    masks: NDArray[np.uint8]
    """uint8 [T,H,W], nonzero = hole."""
    filled: NDArray[np.uint8] | None = None
    """uint8 [T,H,W,3] with the holes filled; None without a fill."""
    belief: NDArray[np.float32] | None = None
    """float32 [T,H,W,2] nearness and agreement in 0..1; None without a fill."""
    alone: NDArray[np.uint8] | None = None
    """uint8 [T,H,W,3], each frame filled from itself; None without a fill."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A rank's share of a global batch, or a part of one."""

    frames: Tensor
    """[B, T, 3, H, W] in [-1, 1]."""
    masks: Tensor
    """[B, T, 1, H, W], 1 in the hole."""
    weights: Tensor
    """[B], 1 for a clip and 0 for padding."""
    filled: Tensor | None = None
    """[B, T, 3, H, W] in [-1, 1], holes filled; None for a generator without a fill."""
    belief: Tensor | None = None
    """[B, T, 2, H, W] in 0..1: nearness and agreement; None without a fill."""
    alone: Tensor | None = None
    """[B, T, 3, H, W] in [-1, 1], each frame filled from itself; None without a fill."""

    @property
    def given(self) -> tuple[Tensor, ...]:
        """Arguments of the generator."""
        if self.filled is None or self.belief is None or self.alone is None:
            return self.frames * (1 - self.masks), self.masks
        return self.filled, self.masks, self.belief, self.alone

    @property
    def open(self) -> Tensor:
        """[B, T, 1, H, W], 1 where the generator decides what is seen."""
        return self.masks if self.belief is None else unsure(self.masks, self.belief)

    def split(self, clips: int) -> "list[Batch]":
        """Micro-batches of at most `clips` clips."""
        starts = range(0, len(self.weights), clips)
        return [self._each(itemgetter(slice(at, at + clips))) for at in starts]

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return self._each(lambda one: one.to(device))

    def _each(self, changed: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(
            changed(self.frames),
            changed(self.masks),
            changed(self.weights),
            None if self.filled is None else changed(self.filled),
            None if self.belief is None else changed(self.belief),
            None if self.alone is None else changed(self.alone),
        )


def batch_of(clips: Sequence[Pixels], weights: Sequence[float]) -> Batch:
    """Clips of equal shapes as one batch."""
    truth = [to_tensors(one.frames, one.masks) for one in clips]
    filled = [in_range(one.filled) for one in clips if one.filled is not None]
    alone = [in_range(one.alone) for one in clips if one.alone is not None]
    belief = [
        torch.from_numpy(one.belief).permute(0, 3, 1, 2) for one in clips if one.belief is not None
    ]
    return Batch(
        torch.stack([frames for frames, _ in truth]),
        torch.stack([masks for _, masks in truth]),
        torch.tensor(weights),
        torch.stack(filled) if filled else None,
        torch.stack(belief) if belief else None,
        torch.stack(alone) if alone else None,
    )


def to_tensors(frames: NDArray[np.uint8], masks: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """uint8 [T, H, W, 3] and [T, H, W] -> float [T, 3, H, W] in [-1, 1] and [T, 1, H, W]."""
    holes = torch.from_numpy(np.ascontiguousarray(masks)).unsqueeze(1)
    return in_range(frames), (holes != 0).float()


def in_range(frames: NDArray[np.uint8]) -> Tensor:
    """uint8 [T, H, W, 3] -> float [T, 3, H, W] in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    # In place: three copies of a clip take longer than the arithmetic.
    return pixels.float().div_(255).mul_(2).sub_(1)
