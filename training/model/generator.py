"""STTN's generator: frame encoder, spatial-temporal transformer, frame decoder (paper section 3.2).

B clips, T frames, C channels at the feature map, H x W frame, h x w = H/4 x W/4 feature map.
Frames are in [-1, 1] with 0 (mid grey) in the hole; masks are 1 in the hole.
"""

import math
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import PatchAttention

SCALE = 4  # frame pixels per feature pixel, along each axis


class Generator(nn.Module):
    """Fills the holes of all frames of a clip at once.

    Parameter names are those of the official state dictionary.

    Args:
        channels: C at the feature map (official: 256); the encoder and decoder narrow with it.
        blocks: transformer blocks (official: 8).
        grids: patches per side and frame of each attention head (official: 1, 3, 6, 12).
        masked_attention: see `PatchAttention`; False as in the official code.
    """

    def __init__(
        self,
        channels: int = 256,
        blocks: int = 8,
        grids: tuple[int, ...] = (1, 3, 6, 12),
        masked_attention: bool = False,
    ) -> None:
        super().__init__()
        self.grids = grids
        self.encoder = nn.Sequential(
            nn.Conv2d(3, channels // 4, kernel_size=3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels // 4, channels // 4, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels // 4, channels // 2, kernel_size=3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels // 2, channels, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.transformer = nn.ModuleList(
            TransformerBlock(channels, grids, masked_attention) for _ in range(blocks)
        )
        self.decoder = nn.Sequential(
            UpsampledConv2d(channels, channels // 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels // 2, channels // 4, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2),
            UpsampledConv2d(channels // 4, channels // 4),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels // 4, 3, kernel_size=3, padding=1),
        )

    def forward(self, frames: Tensor, masks: Tensor) -> Tensor:
        """Predict every frame of every clip.

        Args:
            frames: [B, T, 3, H, W] in [-1, 1], 0 in the hole.
            masks: [B, T, 1, H, W], 1 in the hole.

        Returns:
            [B, T, 3, H, W] in [-1, 1]; also outside the hole.
        """
        clips = frames.shape[0]
        features = self.encode(frames.flatten(0, 1))
        features = self.transform(features, masks.flatten(0, 1), clips)
        return torch.tanh(self.decoder(features).unflatten(0, (clips, -1)))

    def encode(self, frames: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, C, h, w], each frame on its own.

        Raises:
            ValueError: the patch grids do not divide the frame.
        """
        check_size(frames.shape[-2], frames.shape[-1], self.grids)
        features: Tensor = self.encoder(frames)
        return features

    def transform(self, features: Tensor, masks: Tensor, clips: int) -> Tensor:
        """[B*T, C, h, w] and masks [B*T, 1, H, W] -> [B*T, C, h, w], frames of a clip together."""
        holes = functional.interpolate(masks, scale_factor=1 / SCALE)
        for block in self.transformer:
            features = block(features, holes, clips)
        return features

    def decode(self, features: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, 3, H, W] in [-1, 1], each frame on its own."""
        return torch.tanh(self.decoder(features))


class TransformerBlock(nn.Module):
    """Attention, then two convolutions, each added to its input; no normalisation layers."""

    def __init__(self, channels: int, grids: tuple[int, ...], masked_attention: bool) -> None:
        super().__init__()
        self.attention = PatchAttention(channels, grids, masked_attention)
        self.feed_forward = FeedForward(channels)

    def forward(self, features: Tensor, holes: Tensor, clips: int) -> Tensor:
        """[B*T, C, h, w] -> [B*T, C, h, w]; holes [B*T, 1, h, w]."""
        features = features + self.attention(features, holes, clips)
        mixed: Tensor = features + self.feed_forward(features)
        return mixed


class FeedForward(nn.Module):
    """Two 3x3 convolutions, the first dilated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=2, dilation=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, C, h, w]."""
        y: Tensor = self.conv(x)
        return y


class UpsampledConv2d(nn.Module):
    """Bilinear x2 (corners aligned, as in the official decoder), then a 3x3 convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, h, w] -> [N, C_out, 2h, 2w]."""
        doubled = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        y: Tensor = self.conv(doubled)
        return y


def check_size(height: int, width: int, grids: tuple[int, ...]) -> None:
    """Refuse a frame that the patch grids do not divide.

    Raises:
        ValueError: names the sizes nearest to the one asked for that do fit, in pixels.
    """
    unit = SCALE * math.lcm(*grids)
    if height > 0 and width > 0 and height % unit == 0 and width % unit == 0:
        return
    heights, widths = (
        sorted({max(unit, side // unit * unit), -(-side // unit) * unit})
        for side in (max(height, 1), max(width, 1))
    )
    nearest = ", ".join(f"{w}x{h}" for w, h in product(widths, heights))
    raise ValueError(
        f"frames are {width}x{height}; the patch grids {grids} need width and height to be "
        f"multiples of {unit} pixels: nearest that fit: {nearest}"
    )


def initialise(network: nn.Module, std: float, random: torch.Generator) -> None:
    """Draw every weight from N(0, std) and set every bias to 0 (official initialisation: 0.02).

    Works on the parameters themselves, in name order, so that the values depend on `random` alone.
    """
    with torch.no_grad():
        for name, parameter in sorted(network.named_parameters()):
            if name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.normal_(0.0, std, generator=random)
