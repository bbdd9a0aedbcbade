"""Multi-scale patch attention over all frames of a clip (paper section 3.2).

B clips, T frames, C channels, h x w feature map; c = C / heads channels of one head,
ph x pw pixels of a patch of one head, N patches of a clip.

Feature maps are kept channels-last in memory, where convolutions are fastest; a patch is then cut
in runs of whole pixels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

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
            nn.Conv2d(channels, channels, kernel_size=3, padding=1), nn.LeakyReLU(0.2)
        )

    def forward(
        self, features: Tensor, holes: Tensor, clips: int, wanted: int | None = None
    ) -> Tensor:
        """Let every patch of a clip look at every patch of the same clip.

        Args:
            features: [B*T, C, h, w].
            holes: [B*T, 1, h, w], 1 where the input was missing; read only when `masked`.
            clips: B.
            wanted: frames at the start of each clip whose patches look; None = all T.

        Returns:
            [B*wanted, C, h, w].
        """
        height, width = features.shape[-2:]
        sizes = patch_sizes_of(self.grids, self.patch_sizes, height, width)
        heads = zip(
            *(x.chunk(len(sizes), dim=1) for x in self._embedded(features, clips, wanted)),
            sizes,
            strict=True,
        )
        attended = []
        for query, key, value, size in heads:
            hidden = None
            if self.masked:
                hidden = (_tokens(holes, size, clips).mean(dim=-1) > 0.5).unsqueeze(1)  # [B, 1, N]
            queries, keys, values = (_tokens(x, size, clips) for x in (query, key, value))
            patches = attend(queries, keys, values, hidden)
            attended.append(_untokens(patches, size, height, width))
        mixed: Tensor = self.output_linear(torch.cat(attended, dim=1))
        return mixed

    def _embedded(
        self, features: Tensor, clips: int, wanted: int | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B*wanted, C, h, w], keys and values [B*T, C, h, w]; one convolution for all."""
        layers = [self.query_embedding, self.key_embedding, self.value_embedding]
        if wanted is None:
            query, key, value = _together(layers, features)
            return query, key, value
        key, value = _together(layers[1:], features)
        return self.query_embedding(first_frames(features, clips, wanted)), key, value


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


def _together(layers: list[nn.Conv2d], x: Tensor) -> tuple[Tensor, ...]:
    """The outputs of 1x1 convolutions that read the same input."""
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers if layer.bias is not None])
    return functional.conv2d(x, weight, bias).chunk(len(layers), dim=1)


def _tokens(x: Tensor, size: tuple[int, int], clips: int) -> Tensor:
    """[B*T, c, h, w] -> [B, N, ph*pw*c]; order: frame, patch row, patch column.

    The official code orders the numbers of a token by channel first; any one order for queries,
    keys and values gives the same attention.
    """
    pw, ph = size
    # [B*T, h, w, c] -> [B*T, rows, ph, columns, pw, c] -> [B*T, rows, columns, ph, pw, c]
    frames, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(frames, height // ph, ph, width // pw, pw, channels)
    return pixels.permute(0, 1, 3, 2, 4, 5).reshape(clips, -1, ph * pw * channels)


def _untokens(tokens: Tensor, size: tuple[int, int], height: int, width: int) -> Tensor:
    """[B, N, ph*pw*c] -> [B*T, c, h, w]."""
    pw, ph = size
    # [B*T, rows, columns, ph, pw, c] -> [B*T, rows, ph, columns, pw, c] -> [B*T, h, w, c]
    channels = tokens.shape[-1] // (ph * pw)
    patches = tokens.reshape(-1, height // ph, width // pw, ph, pw, channels)
    pixels = patches.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)
    return pixels.permute(0, 3, 1, 2)
