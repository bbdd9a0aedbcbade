"""What is learnt from at a time, as tensors.

B clips of a rank's share, T frames, H x W frame.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """A rank's share of a global batch, or a part of one."""

    frames: Tensor
    """[B, T, 3, H, W] in [-1, 1]."""
    masks: Tensor
    """[B, T, 1, H, W], 1 in the hole."""
    weights: Tensor
    """[B], 1 for a clip and 0 for padding."""

    def split(self, clips: int) -> "list[Batch]":
        """Micro-batches of at most `clips` clips."""
        parts = zip(
            torch.split(self.frames, clips),
            torch.split(self.masks, clips),
            torch.split(self.weights, clips),
            strict=True,
        )
        return [Batch(*part) for part in parts]

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return Batch(self.frames.to(device), self.masks.to(device), self.weights.to(device))


def to_tensors(frames: NDArray[np.uint8], masks: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """uint8 [T, H, W, 3] and [T, H, W] -> float [T, 3, H, W] in [-1, 1] and [T, 1, H, W]."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    holes = torch.from_numpy(np.ascontiguousarray(masks)).unsqueeze(1)
    # In place: three copies of a clip take longer than the arithmetic.
    return pixels.float().div_(255).mul_(2).sub_(1), (holes != 0).float()
