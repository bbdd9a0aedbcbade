"""STTN's temporal-patch discriminator: six 3-D convolutions, five of them spectrally normed.

B clips, T frames, H x W frame. Paper section 3.3 (T-PatchGAN, hinge loss); the spectral norm is
Miyato et al., arXiv 1802.05957.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class Discriminator(nn.Module):
    """Scores every space-time patch of a clip: high for real, low for inpainted.

    Args:
        channels: width of the first layer (official: 64); the others are 2 and 4 times as wide.
        clips_apart: score each clip on its own. The official code strings the clips of a batch
            together into one long clip, so that scores depend on the neighbours in the batch; for
            a batch of one clip both agree.
    """

    def __init__(self, channels: int = 64, clips_apart: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.clips_apart = clips_apart
        widths = [3, channels, channels * 2, channels * 4, channels * 4, channels * 4]
        layers: list[nn.Module] = []
        for i, (channels_in, channels_out) in enumerate(pairwise(widths)):
            layers.append(SpectralConv3d(channels_in, channels_out, 1 if i == 0 else 2))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        layers.append(
            _Scores(widths[-1], channels * 4, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2))
        )
        self.conv = nn.Sequential(*layers)

    def forward(self, clips: Tensor) -> Tensor:
        """[B, T, 3, H, W] in [-1, 1] -> scores [B, T, C, H', W'], unbounded."""
        strung = clips if self.clips_apart else clips.flatten(0, 1).unsqueeze(0)
        # channels-first: on a CPU 3-D convolutions are faster so by a quarter
        scores: Tensor = self.conv(strung.transpose(1, 2).contiguous()).transpose(1, 2)
        return scores.reshape(*clips.shape[:2], *scores.shape[2:])

    def spectral_layers(self) -> list["SpectralConv3d"]:
        """The layers that want a power iteration, first to last."""
        return [layer for layer in self.conv if isinstance(layer, SpectralConv3d)]


class SpectralConv3d(nn.Module):
    """3x5x5 convolution, stride 2 in space, whose weight is divided by its largest singular value.

    The singular value is u . W v with the stored vectors, differentiated through W only. The
    vectors move by `power_iteration` alone, never inside a forward pass: a pass can then be
    repeated, split or recomputed without changing the result.

    Args:
        channels_in: input channels.
        channels_out: output channels.
        padding: in space, pixels; in time it is always 1 frame.
    """

    u: Tensor
    v: Tensor

    def __init__(self, channels_in: int, channels_out: int, padding: int) -> None:
        super().__init__()
        self.padding = padding
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, 3, 5, 5))
        self.register_buffer("u", torch.zeros(channels_out))
        self.register_buffer("v", torch.zeros(channels_in * 3 * 5 * 5))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, T, H, W] -> [B, C_out, T, H', W']."""
        with torch.autocast(x.device.type, enabled=False):  # the norm is never taken in bfloat16
            sigma = torch.dot(self.u, self.weight.flatten(1) @ self.v)
        weight = self.weight * sigma.reciprocal()  # the gradient of a quotient reads it more often
        return convolved(x, weight, None, self.padding)


class _Scores(nn.Conv3d):
    """The last layer, which is not normed."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, T, H, W] -> [B, C_out, T, H', W']."""
        return convolved(x, self.weight, self.bias, int(self.padding[1]))


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """3x5x5 convolution, stride 2 in space, padded by 1 frame in time.

    Args:
        x: [B, C_in, T, H, W].
        weight: [C_out, C_in, 3, 5, 5].
        bias: [C_out].
        padding: in space, pixels.

    Returns:
        [B, C_out, T, H', W'].
    """
    if x.is_cuda:
        return frame_by_frame(x, weight, bias, padding)
    return functional.conv3d(x, weight, bias, stride=(1, 2, 2), padding=(1, padding, padding))


def frame_by_frame(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """`convolved` in two dimensions: each frame beside its neighbours, three times the channels.

    cuDNN computes bfloat16 in three dimensions without tensor cores; so a whole training step of an
    H100 takes two thirds of the time.
    """
    clips, _, t = x.shape[:3]
    frames = functional.pad(x.transpose(1, 2), (0, 0, 0, 0, 0, 0, 1, 1))  # [B, T+2, C_in, H, W]
    seen = torch.cat([frames[:, tap : tap + t] for tap in range(3)], dim=2).flatten(0, 1)
    flat = functional.conv2d(
        seen.contiguous(memory_format=torch.channels_last),
        weight.transpose(1, 2).flatten(1, 2).contiguous(memory_format=torch.channels_last),
        bias,
        stride=2,
        padding=padding,
    )
    return flat.reshape(clips, t, *flat.shape[1:]).transpose(1, 2)


def power_iteration(weight: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """One step towards the leading singular vectors of a weight.

    Args:
        weight: the whole weight, [C_out, ...], float32 or better.
        u: the left vector so far, [C_out], of length 1.

    Returns:
        u [C_out] and v [C_in*3*5*5], new tensors of length 1.
    """
    matrix = weight.detach().flatten(1)
    with torch.autocast(weight.device.type, enabled=False):
        v = functional.normalize(matrix.T @ u, dim=0, eps=1e-12)
        return functional.normalize(matrix @ v, dim=0, eps=1e-12), v


def initialise_vectors(discriminator: Discriminator, random: torch.Generator) -> None:
    """Start every spectral norm from a random direction and its first power iteration."""
    with torch.no_grad():
        for layer in discriminator.spectral_layers():
            start = torch.empty_like(layer.u).normal_(generator=random)
            layer.u, layer.v = power_iteration(
                layer.weight, functional.normalize(start, dim=0, eps=1e-12)
            )
