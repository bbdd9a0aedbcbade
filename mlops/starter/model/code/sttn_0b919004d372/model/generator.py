"""STTN's generator: frame encoder, spatial-temporal transformer, frame decoder (paper section 3.2).

B clips, T frames, C channels at the feature map, H x W frame, h x w = H/4 x W/4 feature map.
Frames are in [-1, 1] with 0 (mid grey) in the hole; masks are 1 in the hole.

With a fill the holes come filled, and the generator corrects what is not sure. It is given frames
without holes, the mask, the belief in each pixel: how near in time it was found (1 / (1 + frames),
0 = not at all), and how well the optical flow of the way there agrees with itself (exp(-pixels));
and the frames filled each from itself alone. It decides for each pixel how much of the latter to
take instead, and what to add. Its last layer begins at zero, so that training starts from what the
fill gives.
"""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .attention import PatchAttention, few_frames, first_frames

SCALE = 4  # frame pixels per feature pixel, along each axis
FILLS = ("none", "diffuse", "propagate")
_SURE = math.exp(-0.5)  # agreement of half a pixel, from which on what was found passes through


class Generator(nn.Module):
    """Fills the holes of all frames of a clip at once.

    Parameter names are those of the official state dictionary.

    Args:
        channels: C at the feature map (official: 256); the encoder and decoder narrow with it.
        blocks: transformer blocks (official: 8).
        grids: patches per side and frame of each attention head (official: 1, 3, 6, 12).
        masked_attention: see `PatchAttention`; False as in the official code.
        patch_sizes: width and height of the patches of each head, pixels of the feature map,
            instead of grids.
        fill: what is in the holes that the generator is given: "none" (mid grey, as in the paper),
            or what the fill of that name put there.

    Set `activation_checkpointing` to keep only the input of each block for the backward pass, which
    computes the block again: less memory for a third more work.
    """

    activation_checkpointing = False

    def __init__(
        self,
        channels: int = 256,
        blocks: int = 8,
        grids: Sequence[int] = (1, 3, 6, 12),
        masked_attention: bool = False,
        patch_sizes: Sequence[Sequence[int]] = (),
        fill: str = "none",
    ) -> None:
        super().__init__()
        if fill not in FILLS:
            raise ValueError(f"the fill is {fill!r}; there are {', '.join(FILLS)}")
        self.channels = channels
        self.fill = fill
        # Colour; with a fill also the mask, nearness, agreement, and the colours of the frame that
        # was filled alone, of which the fourth channel out is the share.
        self.channels_in, self.channels_out = (3, 3) if fill == "none" else (9, 4)
        self.grids = tuple(grids)
        self.patch_sizes = tuple((width, height) for width, height in patch_sizes)
        self.encoder = nn.Sequential(
            nn.Conv2d(self.channels_in, channels // 4, kernel_size=3, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels // 4, channels // 4, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels // 4, channels // 2, kernel_size=3, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels // 2, channels, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.transformer = nn.ModuleList(
            TransformerBlock(channels, self.grids, masked_attention, self.patch_sizes)
            for _ in range(blocks)
        )
        self.decoder = nn.Sequential(
            UpsampledConv2d(channels, channels // 2),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels // 2, channels // 4, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            UpsampledConv2d(channels // 4, channels // 4),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels // 4, self.channels_out, kernel_size=3, padding=1),
        )

    def forward(
        self,
        frames: Tensor,
        masks: Tensor,
        belief: Tensor | None = None,
        alone: Tensor | None = None,
    ) -> Tensor:
        """Predict every frame of every clip.

        Args:
            frames: [B, T, 3, H, W] in [-1, 1], 0 in the hole; with a fill, filled there.
            masks: [B, T, 1, H, W], 1 in the hole.
            belief: [B, T, 2, H, W] in 0..1, with a fill only.
            alone: [B, T, 3, H, W] in [-1, 1], each frame filled from itself, with a fill only.

        Returns:
            [B, T, 3, H, W] in [-1, 1]; also outside the hole. With a fill: `frames`, corrected
            where the hole is not sure, and a little beyond the range at times.

        Raises:
            ValueError: shapes do not fit each other or the patches; a mask is not 0 or 1; belief or
                frames filled alone are missing, or are none of this generator's.
        """
        check_clips(frames, masks)
        if {belief is None, alone is None} != {self.fill == "none"}:
            wanted = "a belief [B, T, 2, H, W] and the frames filled alone [B, T, 3, H, W]"
            raise ValueError(
                f"this generator has fill {self.fill!r}: give "
                f"{wanted if self.fill != 'none' else 'no belief and no frames filled alone'}"
            )
        if belief is None or alone is None:
            return self._decoded(frames, masks)
        decoded = self._decoded(given_with_fill(frames, masks, belief, alone), masks)
        return corrected(frames, alone, decoded, unsure(masks, belief))

    def _decoded(self, given: Tensor, masks: Tensor) -> Tensor:
        """[B, T, 3 or 9, H, W] and [B, T, 1, H, W] -> [B, T, 3 or 4, H, W]."""
        features = self.encode(given.flatten(0, 1))
        decoded = self.decode(self.transform(features, masks.flatten(0, 1), clips=len(given)))
        return decoded.reshape(*given.shape[:2], *decoded.shape[1:])

    def encode(self, frames: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, C, h, w], each frame on its own; with a fill [N, 9, H, W].

        Raises:
            ValueError: the patches do not divide the frame.
        """
        check_size(frames.shape[-2], frames.shape[-1], self.grids, self.patch_sizes)
        features: Tensor = self.encoder(frames.contiguous(memory_format=torch.channels_last))
        return features

    def transform(
        self, features: Tensor, masks: Tensor, clips: int, wanted: int | None = None
    ) -> Tensor:
        """Mix the frames of each clip.

        Args:
            features: [B*T, C, h, w].
            masks: [B*T, 1, H, W], 1 in the hole.
            clips: B.
            wanted: frames at the start of each clip that are needed; None = all T. The others are
                left out where they cannot matter any more: in what the last block computes.

        Returns:
            [B*wanted, C, h, w].
        """
        holes = functional.interpolate(masks, scale_factor=1 / SCALE)
        last = len(self.transformer) - 1
        for number, block in enumerate(self.transformer):
            given = features, holes, clips, wanted if number == last else None
            if self.activation_checkpointing and torch.is_grad_enabled():
                features = checkpoint(block, *given, use_reentrant=False)
            else:
                features = block(*given)
        return features

    def decode(self, features: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, 3, H, W] in [-1, 1], each frame on its own.

        Its colours; with a fill [N, 4, H, W], what `corrected` wants.
        """
        if torch.is_grad_enabled():
            return torch.tanh(self.decoder(features))
        parts = torch.split(features, few_frames(features))
        return torch.cat([torch.tanh(self.decoder(part)) for part in parts])


class TransformerBlock(nn.Module):
    """Attention, then two convolutions, each added to its input; no normalisation layers."""

    def __init__(
        self,
        channels: int,
        grids: tuple[int, ...],
        masked_attention: bool,
        patch_sizes: tuple[tuple[int, int], ...] = (),
    ) -> None:
        super().__init__()
        self.attention = PatchAttention(channels, grids, masked_attention, patch_sizes)
        self.feed_forward = FeedForward(channels)

    def forward(
        self, features: Tensor, holes: Tensor, clips: int, wanted: int | None = None
    ) -> Tensor:
        """[B*T, C, h, w] -> [B*wanted, C, h, w]; arguments as for `PatchAttention.forward`."""
        seen = self.attention.seen(features, holes, clips, wanted)
        features = first_frames(features, clips, wanted)
        if torch.is_grad_enabled():
            return self._mixed(features, seen)
        few = few_frames(seen)
        for before, after in zip(torch.split(features, few), torch.split(seen, few), strict=True):
            after.copy_(self._mixed(before, after))
        return seen

    def _mixed(self, features: Tensor, seen: Tensor) -> Tensor:
        """The layers after attention, where each frame is on its own again."""
        features = features + self.attention.output_linear(seen)
        mixed: Tensor = features + self.feed_forward(features)
        return mixed


class FeedForward(nn.Module):
    """Two 3x3 convolutions, the first dilated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            DilatedConv2d(channels, channels, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, C, h, w]."""
        y: Tensor = self.conv(x)
        return y


class DilatedConv2d(nn.Conv2d):
    """A 3x3 convolution over every second pixel (dilation 2), out as large as in.

    It works on four maps of every second row and column that never meet. Convolved as four small
    maps they give the same sums, a tenth faster on a CPU than by dilation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, C, h, w]."""
        frames, channels, height, width = x.shape
        if height % 2 or width % 2:
            return functional.conv2d(x, self.weight, self.bias, padding=2, dilation=2)
        # [N, h, w, C] -> [N, h/2, 2, w/2, 2, C] -> [2, 2, N, h/2, w/2, C]
        pixels = x.permute(0, 2, 3, 1).reshape(frames, height // 2, 2, width // 2, 2, channels)
        maps = pixels.permute(2, 4, 0, 1, 3, 5).reshape(-1, height // 2, width // 2, channels)
        y: Tensor = super().forward(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = y.reshape(2, 2, frames, height // 2, width // 2, -1).permute(2, 3, 0, 4, 1, 5)
        return y.reshape(frames, height, width, -1).permute(0, 3, 1, 2)


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


def given_with_fill(filled: Tensor, masks: Tensor, belief: Tensor, alone: Tensor) -> Tensor:
    """Input of a generator with a fill.

    Args:
        filled: [..., 3, H, W] in [-1, 1].
        masks: [..., 1, H, W], 1 in the hole.
        belief: [..., 2, H, W].
        alone: [..., 3, H, W] in [-1, 1].

    Returns:
        [..., 9, H, W].
    """
    return torch.cat([filled, masks, belief, alone - filled], dim=-3)


def corrected(filled: Tensor, alone: Tensor, decoded: Tensor, changed: Tensor) -> Tensor:
    """What a generator with a fill makes of it.

    Args:
        filled: [..., 3, H, W] in [-1, 1].
        alone: [..., 3, H, W] in [-1, 1].
        decoded: [..., 4, H, W]: colours to add, and the share of `alone`.
        changed: [..., 1, H, W], 1 where it counts.

    Returns:
        [..., 3, H, W], a little beyond [-1, 1] at times.
    """
    colours, share = decoded[..., :3, :, :], decoded[..., 3:, :, :]
    return filled + changed * (share * (alone - filled) + colours)


def unsure(masks: Tensor, belief: Tensor) -> Tensor:
    """1 where the hole was not found for sure: what a generator with a fill corrects.

    Args:
        masks: [..., 1, H, W], 1 in the hole.
        belief: [..., 2, H, W].

    Returns:
        [..., 1, H, W].
    """
    return masks * (belief[..., 1:, :, :] < _SURE).to(masks.dtype)


def check_clips(frames: Tensor, masks: Tensor) -> None:
    """Refuse what are no clips with their masks.

    Raises:
        ValueError: shapes other than [B, T, 3, H, W] and [B, T, 1, H, W], no frames, or numbers
            other than 0 and 1 in the masks; those are looked for on a CPU only, as on a GPU the
            look would wait for all that is still being computed.
    """
    fit = frames.dim() == 5 and frames.shape[2] == 3 and frames.numel() > 0
    if not fit or masks.shape != (*frames.shape[:2], 1, *frames.shape[3:]):
        raise ValueError(
            f"frames are {tuple(frames.shape)} and masks {tuple(masks.shape)}; "
            "wanted [B, T, 3, H, W] and [B, T, 1, H, W] with equal B, T, H and W of at least 1"
        )
    if masks.device.type == "cpu" and not ((masks == 0) | (masks == 1)).all():
        least, most = masks.min().item(), masks.max().item()
        raise ValueError(
            f"masks have numbers other than 0 and 1, between {least:g} and {most:g}: "
            "give 1 in the hole and 0 elsewhere"
        )


def size_units(
    grids: tuple[int, ...], patch_sizes: tuple[tuple[int, int], ...] = ()
) -> tuple[int, int]:
    """Height and width, in pixels, that those of a frame must be multiples of."""
    if not patch_sizes:
        return (SCALE * math.lcm(*grids),) * 2
    widths, heights = zip(*patch_sizes, strict=True)
    return SCALE * math.lcm(*heights), SCALE * math.lcm(*widths)


def check_size(
    height: int,
    width: int,
    grids: tuple[int, ...],
    patch_sizes: tuple[tuple[int, int], ...] = (),
) -> None:
    """Refuse a frame that the patches do not divide.

    Raises:
        ValueError: names the nearest sizes that do fit, in pixels.
    """
    unit_h, unit_w = size_units(grids, patch_sizes)
    if height > 0 and width > 0 and height % unit_h == 0 and width % unit_w == 0:
        return
    heights, widths = (
        sorted({max(unit, side // unit * unit), -(-max(side, 1) // unit) * unit})
        for side, unit in ((height, unit_h), (width, unit_w))
    )
    nearest = ", ".join(f"{w}x{h}" for w, h in product(widths, heights))
    patches = f"sizes {patch_sizes}" if patch_sizes else f"grids {grids}"
    needed = f"{unit_w}" if unit_w == unit_h else f"{unit_w} and {unit_h}"
    raise ValueError(
        f"frames are {width}x{height}; the patch {patches} need width and height to be "
        f"multiples of {needed} pixels: nearest that fit: {nearest}"
    )


def initialise(network: nn.Module, std: float, random: torch.Generator) -> None:
    """Draw every weight from N(0, std) and set every bias to 0 (official initialisation: 0.02).

    Works on the parameters themselves, in name order, so that the values depend on `random` alone.
    A generator with a fill begins as one that corrects nothing: its last layer is 0.
    """
    with torch.no_grad():
        for name, parameter in sorted(network.named_parameters()):
            if name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.normal_(0.0, std, generator=random)
        if isinstance(network, Generator) and network.fill != "none":
            last = network.decoder[-1]
            assert isinstance(last, nn.Conv2d)
            last.weight.zero_()
