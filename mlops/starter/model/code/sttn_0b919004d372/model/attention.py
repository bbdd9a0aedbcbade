"""Multi-scale patch attention over all frames of a clip (paper section 3.2).

B clips, T frames, C channels, h x w feature map; c = C / heads channels of one head,
ph x pw pixels of a patch of one head, N patches of a clip.

Feature maps are kept channels-last in memory, where convolutions are fastest; a patch is then cut
in runs of whole pixels.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

Sizes = tuple[tuple[int, int], ...]
"""(pw, ph) of each head."""

_MASKED_SCORE = -1e9  # fill value of the official code; a row with every key masked becomes uniform
# Scores held at a time, numbers: 64 MB in float32. Beyond it queries are taken in chunks, so that
# memory grows with T and not with its square (one clip of 28 frames fits whole).
_MOST_SCORES = 2**24


class PatchAttention(nn.Module):
    """Self-attention whose tokens are whole patches; each head cuts the map its own way.

    Head i works on channels [i*c, (i+1)*c) and cuts every frame into grids[i] x grids[i] patches:
    108x60, 36x20, 18x10 and 9x5 pixels on the 108x60 map of a 432x240 frame.

    Args:
        channels: C, a multiple of the number of heads.
        grids: patches per side and frame, one number for each head.
        masked: keys that lie mostly in the hole take no part. The official code computes this mask
            and drops it (its `masked_fill` is out of place), so official weights want False.
        patch_sizes: (pw, ph) for each head, instead of grids.
    """

    def __init__(
        self,
        channels: int,
        grids: tuple[int, ...],
        masked: bool,
        patch_sizes: tuple[tuple[int, int], ...] = (),
    ) -> None:
        super().__init__()
        self.grids = grids
        self.patch_sizes = patch_sizes
        self.masked = masked
        self.query_embedding = nn.Conv2d(channels, channels, kernel_size=1)
        self.value_embedding = nn.Conv2d(channels, channels, kernel_size=1)
        self.key_embedding = nn.Conv2d(channels, channels, kernel_size=1)
        self.output_linear = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1), nn.LeakyReLU(0.2, inplace=True)
        )

    def forward(
        self, features: Tensor, holes: Tensor, clips: int, wanted: int | None = None
    ) -> Tensor:
        """Let every patch of a clip look at every patch of the same clip; mix what it saw.

        Args:
            features: [B*T, C, h, w].
            holes: [B*T, 1, h, w], 1 where the input was missing; read only when `masked`.
            clips: B.
            wanted: frames at the start of each clip whose patches look; None = all T.

        Returns:
            [B*wanted, C, h, w].
        """
        mixed: Tensor = self.output_linear(self.seen(features, holes, clips, wanted))
        return mixed

    def seen(
        self, features: Tensor, holes: Tensor, clips: int, wanted: int | None = None
    ) -> Tensor:
        """Attended values of every patch, before they are mixed; arguments as for `forward`."""
        height, width = features.shape[-2:]
        sizes = patch_sizes_of(self.grids, self.patch_sizes, height, width)
        queries, keys, values = self._embedded(features, clips, sizes, wanted)
        attended = []
        for query, key, value, size in zip(queries, keys, values, sizes, strict=True):
            hidden = None
            if self.masked:
                hidden = (_tokens(holes, size, clips).mean(dim=-1) > 0.5).unsqueeze(1)  # [B, 1, N]
            attended.append(attend(query, key, value, hidden))
        return join(attended, sizes, height, width)

    def _embedded(
        self, features: Tensor, clips: int, sizes: Sizes, wanted: int | None
    ) -> tuple[tuple[Tensor, ...], ...]:
        """Queries, keys and values: tokens of each head; one convolution for all."""
        layers = [self.query_embedding, self.key_embedding, self.value_embedding]
        heads = len(sizes)
        if wanted is None:
            all_three = _tokens_of(layers, features, clips, sizes)
            return all_three[:heads], all_three[heads : 2 * heads], all_three[2 * heads :]
        both = _tokens_of(layers[1:], features, clips, sizes)
        query = _tokens_of(layers[:1], first_frames(features, clips, wanted), clips, sizes)
        return query, both[:heads], both[heads:]


def patch_sizes_of(
    grids: tuple[int, ...], patch_sizes: tuple[tuple[int, int], ...], height: int, width: int
) -> tuple[tuple[int, int], ...]:
    """(pw, ph) of each head on a feature map of h x w pixels; grids count when none is given."""
    return patch_sizes or tuple((width // grid, height // grid) for grid in grids)


def first_frames(x: Tensor, clips: int, wanted: int | None) -> Tensor:
    """[B*T, ...] -> [B*wanted, ...]: the first frames of each clip; None = all."""
    if wanted is None:
        return x
    return x.reshape(clips, -1, *x.shape[1:])[:, :wanted].flatten(0, 1)


def attend(queries: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention in memory that is linear in the number of tokens.

    Args:
        queries: [B, M, d].
        keys: [B, N, d].
        values: [B, N, d].
        hidden: [B, 1, N], True for keys that take no part; None = all do.

    Returns:
        [B, M, d].
    """
    clips, tokens, _ = keys.shape
    rows = max(1, _MOST_SCORES // (clips * tokens))
    if queries.shape[1] <= rows:
        return _attend(queries, keys, values, hidden)
    chunks = torch.split(queries, rows, dim=1)
    if not torch.is_grad_enabled():
        return torch.cat([_attend(chunk, keys, values, hidden) for chunk in chunks], dim=1)
    # Kept for the backward pass, the scores of all chunks would be as large as before.
    again = (checkpoint(_attend, c, keys, values, hidden, use_reentrant=False) for c in chunks)
    return torch.cat(list(again), dim=1)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None) -> Tensor:
    scores = queries @ keys.transpose(1, 2) / math.sqrt(queries.shape[-1])
    if hidden is not None:
        scores = scores.masked_fill(hidden, _MASKED_SCORE)
    return functional.softmax(scores, dim=-1) @ values


def few_frames(x: Tensor) -> int:
    """Number of frames of x [N, C, h, w] to work on at a time where each is on its own.

    Without gradients, less is held at once; on a CPU it also is memory that the allocator keeps and
    not, each time, new pages of the system (measured: a quarter faster).
    """
    numbers = 2**21 if x.device.type == "cpu" else 2**28
    return max(1, numbers // x[0].numel())


def _tokens_of(layers: list[nn.Conv2d], x: Tensor, clips: int, sizes: Sizes) -> tuple[Tensor, ...]:
    """The outputs of 1x1 convolutions that read the same input, cut: layer by layer, the heads."""
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers if layer.bias is not None])
    sizes = sizes * len(layers)
    if clips > 1 or torch.is_grad_enabled():
        return cut(functional.conv2d(x, weight, bias), sizes, clips)
    parts = (
        cut(functional.conv2d(part, weight, bias), sizes, 1)
        for part in torch.split(x, few_frames(x))
    )
    return tuple(torch.cat(frames, dim=1) for frames in zip(*parts, strict=True))


def cut(x: Tensor, sizes: Sizes, clips: int) -> tuple[Tensor, ...]:
    """[B*T, heads*c, h, w] -> for each head, the tokens [B, N, ph*pw*c]."""
    tokens: tuple[Tensor, ...] = _Cut.apply(x, sizes, clips)  # type: ignore[no-untyped-call]
    return tokens


def join(tokens: Sequence[Tensor], sizes: Sizes, height: int, width: int) -> Tensor:
    """The inverse of `cut`: a feature map, channels-last."""
    x: Tensor = _Join.apply(sizes, height, width, *tokens)  # type: ignore[no-untyped-call]
    return x


# Each is the other's gradient; said so, autograd need not fill and add a whole map for every head.
class _Cut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: Sizes, clips: int) -> tuple[Tensor, ...]:
        ctx.sizes, ctx.height, ctx.width = sizes, *x.shape[-2:]
        return _cut(x, sizes, clips)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _joined(gradients, ctx.sizes, ctx.height, ctx.width), None, None


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sizes: Sizes, height: int, width: int, *tokens: Tensor) -> Tensor:
        ctx.sizes, ctx.clips = sizes, len(tokens[0])
        return _joined(tokens, sizes, height, width)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *_cut(gradient, ctx.sizes, ctx.clips)


def _cut(x: Tensor, sizes: Sizes, clips: int) -> tuple[Tensor, ...]:
    heads = zip(x.chunk(len(sizes), dim=1), sizes, strict=True)
    return tuple(_tokens(head, size, clips) for head, size in heads)


def _joined(tokens: Sequence[Tensor], sizes: Sizes, height: int, width: int) -> Tensor:
    channels = tokens[0].shape[-1] // math.prod(sizes[0])  # c, alike for all heads
    frames = tokens[0].numel() // (height * width * channels)
    x = tokens[0].new_empty(frames, height, width, len(sizes) * channels)
    for place, head, size in zip(x.chunk(len(sizes), dim=-1), tokens, sizes, strict=True):
        patches = _patches(place, size)
        patches.copy_(head.reshape(patches.shape))
    return x.permute(0, 3, 1, 2)


def _tokens(x: Tensor, size: tuple[int, int], clips: int) -> Tensor:
    """[B*T, c, h, w] -> [B, N, ph*pw*c]; order: frame, patch row, patch column.

    The official code orders the numbers of a token by channel first; any one order for queries,
    keys and values gives the same attention.
    """
    patches = _patches(x.permute(0, 2, 3, 1), size)
    return patches.reshape(clips, -1, math.prod(patches.shape[3:]))


def _patches(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """[B*T, h, w, c] -> [B*T, rows, columns, ph, pw, c], a view."""
    pw, ph = size
    frames, height, width, channels = pixels.shape
    return pixels.view(frames, height // ph, ph, width // pw, pw, channels).transpose(2, 3)
