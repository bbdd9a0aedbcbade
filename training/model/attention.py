"""Multi-scale patch attention over all frames of a clip (paper section 3.2).

B clips, T frames, C channels, h x w feature map; c = C / heads channels of one head,
g x g patches of ph x pw pixels cut from each frame by one head.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_MASKED_SCORE = -1e9  # fill value of the official code; a row with every key masked becomes uniform


class PatchAttention(nn.Module):
    """Self-attention whose tokens are whole patches; each head cuts the map by its own grid.

    Head i works on channels [i*c, (i+1)*c) and cuts every frame into grids[i] x grids[i] patches:
    108x60, 36x20, 18x10 and 9x5 pixels on the 108x60 map of a 432x240 frame.

    Args:
        channels: C, a multiple of the number of heads.
        grids: patches per side and frame, one number for each head.
        masked: keys that lie mostly in the hole take no part. The official code computes this mask
            and drops it (its `masked_fill` is out of place), so official weights want False.
    """

    def __init__(self, channels: int, grids: tuple[int, ...], masked: bool) -> None:
        super().__init__()
        self.grids = grids
        self.masked = masked
        self.query_embedding = nn.Conv2d(channels, channels, kernel_size=1)
        self.value_embedding = nn.Conv2d(channels, channels, kernel_size=1)
        self.key_embedding = nn.Conv2d(channels, channels, kernel_size=1)
        self.output_linear = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1), nn.LeakyReLU(0.2)
        )

    def forward(self, features: Tensor, holes: Tensor, clips: int) -> Tensor:
        """Let every patch of a clip look at every patch of the same clip.

        Args:
            features: [B*T, C, h, w].
            holes: [B*T, 1, h, w], 1 where the input was missing; read only when `masked`.
            clips: B.

        Returns:
            [B*T, C, h, w].
        """
        heads = zip(
            self.query_embedding(features).chunk(len(self.grids), dim=1),
            self.key_embedding(features).chunk(len(self.grids), dim=1),
            self.value_embedding(features).chunk(len(self.grids), dim=1),
            self.grids,
            strict=True,
        )
        height, width = features.shape[-2:]
        attended = []
        for query, key, value, grid in heads:
            queries, keys, values = (_tokens(x, grid, clips) for x in (query, key, value))
            scores = queries @ keys.transpose(1, 2) / math.sqrt(queries.shape[-1])
            if self.masked:
                hidden = _tokens(holes, grid, clips).mean(dim=-1) > 0.5  # [B, N]
                scores = scores.masked_fill(hidden.unsqueeze(1), _MASKED_SCORE)
            patches = functional.softmax(scores, dim=-1) @ values
            attended.append(_untokens(patches, grid, height, width))
        mixed: Tensor = self.output_linear(torch.cat(attended, dim=1))
        return mixed


def _tokens(x: Tensor, grid: int, clips: int) -> Tensor:
    """[B*T, c, h, w] -> [B, T*g*g, c*ph*pw]; order: frame, patch row, patch column."""
    frames, channels, height, width = x.shape
    ph, pw = height // grid, width // grid
    # [B*T, c, g, ph, g, pw] -> [B*T, g, g, c, ph, pw]
    cut = x.reshape(frames, channels, grid, ph, grid, pw).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(clips, frames // clips * grid * grid, channels * ph * pw)


def _untokens(tokens: Tensor, grid: int, height: int, width: int) -> Tensor:
    """[B, T*g*g, c*ph*pw] -> [B*T, c, h, w]."""
    ph, pw = height // grid, width // grid
    channels = tokens.shape[-1] // (ph * pw)
    # [B*T, g, g, c, ph, pw] -> [B*T, c, g, ph, g, pw]
    patches = tokens.reshape(-1, grid, grid, channels, ph, pw).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(-1, channels, height, width)
