"""The losses of paper section 3.3: sums over a micro-batch, divided by counts of the global batch.

`rmse` is ours: what PSNR is made of, instead of the mean absolute error of the hole.

B clips of the micro-batch, T frames, H x W frame. Every function returns a share: adding the shares
of all micro-batches of all ranks gives the loss of the global batch, however its clips fell. A clip
of weight 0 is padding and adds nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

GREY_LEVEL = 1 / 127.5
"""One of 256, in the range [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of the global batch, known before the first backward pass.

    The official code divides by the counts of each rank's own batch and averages the ranks, which
    makes the loss depend on which clips share a rank.
    """

    hole: Tensor
    """Hole pixels of all clips of weight 1, all frames; float64 scalar."""
    valid: Tensor
    """Pixels outside the holes; float64 scalar."""
    clips: Tensor
    """Clips of weight 1; float64 scalar."""


def count(masks: Tensor, weights: Tensor) -> Tensor:
    """This rank's addends of `Counts`: float64 [3], to be summed over ranks.

    Args:
        masks: [B, T, 1, H, W], 1 in the hole.
        weights: [B], 1 for a clip and 0 for padding.
    """
    holes = masks.double().sum(dim=(1, 2, 3, 4))
    pixels = masks[0].numel()
    weights = weights.double()
    return torch.stack([(holes * weights).sum(), ((pixels - holes) * weights).sum(), weights.sum()])


def hole_l1(predicted: Tensor, frames: Tensor, masks: Tensor, weights: Tensor, n: Counts) -> Tensor:
    """Mean absolute error inside the holes, over pixels and channels.

    Equals the official `L1(pred * m, x * m) / mean(m)` on the global batch.

    Args:
        predicted: [B, T, 3, H, W].
        frames: [B, T, 3, H, W], the truth.
        masks: [B, T, 1, H, W], 1 in the hole.
        weights: [B].
        n: counts of the global batch.
    """
    return _masked_l1(predicted, frames, masks, weights) / (n.hole.clamp(min=1) * 3)


def valid_l1(
    predicted: Tensor, frames: Tensor, masks: Tensor, weights: Tensor, n: Counts
) -> Tensor:
    """Mean absolute error outside the holes; arguments as for `hole_l1`."""
    return _masked_l1(predicted, frames, 1 - masks, weights) / (n.valid.clamp(min=1) * 3)


def rmse(predicted: Tensor, frames: Tensor, masks: Tensor, weights: Tensor, n: Counts) -> Tensor:
    """Root mean squared error of each frame's masked pixels, averaged over frames and clips.

    Less a grey level, below which nobody sees a difference: a frame without an error adds nothing.

    Args:
        predicted: [B, T, 3, H, W].
        frames: [B, T, 3, H, W], the truth.
        masks: [B, T, 1, H, W], 1 where it counts.
        weights: [B].
        n: counts of the global batch.
    """
    squares = ((predicted - frames).square() * masks).sum(dim=(2, 3, 4))
    mean = squares / (3 * masks.sum(dim=(2, 3, 4))).clamp(min=1)
    # sqrt(mean + level^2) - level, without the rounding of a difference.
    per_clip = (mean / ((mean + GREY_LEVEL**2).sqrt() + GREY_LEVEL)).mean(dim=1)
    return (per_clip * weights).sum() / n.clips.clamp(min=1)


def hinge_real(scores: Tensor, weights: Tensor, n: Counts) -> Tensor:
    """Mean of max(0, 1 - score) over the scores of real clips [B, T, C, h, w]."""
    return _mean_score(functional.relu(1 - scores), weights, n)


def hinge_fake(scores: Tensor, weights: Tensor, n: Counts) -> Tensor:
    """Mean of max(0, 1 + score) over the scores of inpainted clips [B, T, C, h, w]."""
    return _mean_score(functional.relu(1 + scores), weights, n)


def adversarial(scores: Tensor, weights: Tensor, n: Counts) -> Tensor:
    """Minus the mean score of inpainted clips [B, T, C, h, w]: what the generator wants raised."""
    return _mean_score(-scores, weights, n)


def _masked_l1(predicted: Tensor, frames: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    per_clip = ((predicted - frames).abs() * masks).sum(dim=(1, 2, 3, 4))
    return (per_clip * weights).sum()


def _mean_score(values: Tensor, weights: Tensor, n: Counts) -> Tensor:
    per_clip = values.flatten(1).sum(dim=1, dtype=weights.dtype)  # not in bfloat16
    return (per_clip * weights).sum() / (n.clips.clamp(min=1) * values[0].numel())
