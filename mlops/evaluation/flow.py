"""Flow warping error: how much a video flickers, by the optical flow of the true frames. Pure.

As phoenix104104/fast_blind_video_consistency measures it: a frame is compared with the next one
warped to it, where nothing is occluded.

Legend: `H`, `W` pixels; a frame is float32 [H,W,3] in 0..1; a flow is float32 [H,W,2], (x, y) in
pixels: where a pixel of a frame is in the other.
"""

import struct
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates  # type: ignore[import-untyped]  # scipy has no types

from data_pipeline.cli.command import UserError
from data_pipeline.storage import lake
from mlops.fills import flow as fills_flow
from mlops.fills.flow import DIS_LEAST_PIXELS, Flow, FlowSource

Frame = NDArray[np.float32]

_FLO_MAGIC = 202021.25  # of Middlebury's format


@dataclass(frozen=True, slots=True)
class Step:
    """From a frame to the next one."""

    forward: Flow
    visible: NDArray[np.bool_]
    """[H,W]: what is seen in both."""

    def error(self, first: Frame, second: Frame) -> float:
        """Mean squared difference of `first` and `second` warped to it, over what is visible.

        0 where nothing is.
        """
        difference = np.square(warp(second, self.forward) - first, dtype=np.float64)
        return float(difference[self.visible].mean()) if self.visible.any() else 0.0


def step(forward: Flow, backward: Flow) -> Step:
    """Find the pixels that are visible in both frames, by the two flows between them.

    The published driver gives the two to its detector in the wrong order, so it is the backward
    flow that is warped, by the forward one; and motion boundaries are those of the forward flow.
    """
    back = warp(backward, forward)
    apart = _squares(back + forward) > 0.01 * (_squares(back) + _squares(forward)) + 0.5
    gradients = _squares(_difference(forward, 1)) + _squares(_difference(forward, 0))
    boundary = gradients > 0.01 * _squares(forward) + 0.002
    return Step(forward, ~(apart | boundary))


def warp(values: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """Sample an image at the end of each arrow of the flow, bilinear; beyond the rim as at the rim.

    Args:
        values: [H,W,C].
        flow: [H,W,2].
    """
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    at = [y + flow[..., 1], x + flow[..., 0]]
    channels = [
        map_coordinates(values[..., channel], at, order=1, mode="nearest")
        for channel in range(values.shape[-1])
    ]
    return np.stack(channels, axis=-1)


def dis() -> FlowSource:
    """OpenCV's dense inverse search as `columns.py` has it; the same on every call.

    Raises:
        UserError: the frames are too small for it.
    """
    source = fills_flow.dis(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, finest_scale=None)

    def between(
        number: int, first: NDArray[np.uint8], second: NDArray[np.uint8], /
    ) -> tuple[Flow, Flow]:
        if min(first.shape[:2]) < DIS_LEAST_PIXELS:
            raise UserError(
                f"frames of {first.shape[1]}x{first.shape[0]} pixels are too small for optical "
                f"flow: it wants {DIS_LEAST_PIXELS} on each side"
            )
        return source(number, first, second)

    return between


def given(folder: str, video: str) -> FlowSource:
    """Flow that was computed before, by whatever network: Middlebury's .flo files.

    Args:
        folder: path or s3:// URI; below it `<video>/forward/00000.flo` from frame 0 to 1, and
            `<video>/backward/00000.flo` from frame 1 to 0.
        video: id.

    Raises:
        UserError: a flow is missing, or of another size.
    """

    def between(
        number: int, first: NDArray[np.uint8], _second: NDArray[np.uint8], /
    ) -> tuple[Flow, Flow]:
        forward, backward = (
            _read_flo(lake.join(folder, video, way, f"{number:05d}.flo"), first.shape[:2])
            for way in ("forward", "backward")
        )
        return forward, backward

    return between


def _read_flo(uri: str, size: tuple[int, ...]) -> Flow:
    # Not cv2.readOpticalFlow: it reads local files only, allocates whatever size a header claims,
    # and takes a file with more behind its pixels.
    if not lake.exists(uri):
        raise UserError(
            f"no optical flow {uri}: --flows wants forward/00000.flo … and backward/00000.flo …, "
            "of a data set below <video>/"
        )
    data = lake.read_bytes(uri)
    magic, width, height = struct.unpack_from("<fii", data) if len(data) >= 12 else (0, 0, 0)
    if magic != _FLO_MAGIC or (height, width) != size or len(data) != 12 + 8 * width * height:
        raise UserError(
            f"optical flow {uri} is no .flo file of {size[1]}x{size[0]} pixels (it says "
            f"{width}x{height} in {len(data)} bytes): compute it at that size"
        )
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)


def _difference(flow: Flow, axis: int) -> Flow:
    """To the next pixel along an axis; 0 in the last row or column."""
    return np.diff(flow, axis=axis, append=np.take(flow, [-1], axis=axis))


def _squares(flow: Flow) -> NDArray[np.float32]:
    """Squared length of each arrow, [H,W]."""
    squares: NDArray[np.float32] = np.square(flow).sum(axis=-1)
    return squares
