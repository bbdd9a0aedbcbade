"""Converts a decoded frame to RGB as displayed: colours by the tags of the frame, upright.

Matrix coefficients by tag: ITU-T H.273, table 4.
"""

from typing import Any, final

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from data_pipeline.sources.record import BadVideoError

# Default swscale differs between SIMD and plain C; with these flags it does not. Without full
# chroma it also darkens every frame by 1.5 grey levels.
_BIT_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
)

_GBR, _UNSPECIFIED, _BT2020_NCL, _BT2020_CL = 0, 2, 9, 10
_CHROMA_DERIVED = (12, 13)
# What swscale converts by; it refuses frames with any other tag.
_SWSCALE = (0, 1, 2, 4, 5, 6, 7, 9)
# The matrix that was derived from some primaries.
_OF_PRIMARIES = {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9}
# (Y, Cb, Cr) -> (R, G, B) of tags that swscale has no numbers for.
_LINEAR = {
    8: ((1.0, -1.0, 1.0), (1.0, 1.0, 0.0), (1.0, -1.0, -1.0)),  # YCgCo
    11: ((0.991902, 0.0, 2.0), (1.0, 0.0, 0.0), (1 / 0.986566, 2 / 0.986566, 0.0)),  # Y'D'zD'x
}
_NOT_READ = {14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro"}
_FULL_RANGE = 2

_Matrix = tuple[int, int, int, int]  # (a, b, c, d): x' = a x + c y, y' = b x + d y; signs only


@final
class ToRgb:
    """Converts the frames of one video; its first frame says how all are rotated.

    Args:
        threads: threads of the scaler; 0 = one for each processor. The pixels are the same.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._scaler = VideoReformatter()
        self._turn: _Matrix | None = None

    def picture(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """Convert a frame to 8 bits, uint8 [h, w, 3].

        Raises:
            BadVideoError: its colours cannot be read, or it is turned by no right angle.
        """
        return self._upright(frame, self._rgb(frame, "rgb24").astype(np.uint8, copy=False))

    def deep(self, frame: av.VideoFrame) -> NDArray[np.uint16]:
        """Convert a frame to 16 bits, uint16 [h, w, 3], whatever its own depth; see `picture`."""
        values = self._rgb(frame, "rgb48le").astype(np.uint16, copy=False)
        if _is_limited(frame):
            values = to_full_scale(values)
        return self._upright(frame, values)

    def _rgb(self, frame: av.VideoFrame, form: str) -> NDArray[Any]:
        tag, matrix = frame.colorspace, _matrix_of(frame)
        try:
            if matrix in _LINEAR:
                return self._linear(frame, _LINEAR[matrix], form)
            frame.colorspace = matrix
            return self._scaled(frame, form)
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = "has frames that cannot be shown in RGB"
            raise BadVideoError(reason, f"{frame.format.name}: {error}") from error
        finally:
            frame.colorspace = tag  # the same frame may be converted again

    def _scaled(self, frame: av.VideoFrame, form: str) -> NDArray[Any]:
        rgb = self._scaler.reformat(
            frame, format=form, interpolation=_BIT_EXACT, threads=self._threads
        )
        return rgb.to_ndarray()

    def _linear(self, frame: av.VideoFrame, matrix: Any, form: str) -> NDArray[Any]:
        """Convert by our own matrix: the scaler only brings colour differences to full size."""
        frame.colorspace = _UNSPECIFIED
        # 16 bits: nothing is rounded twice.
        full = self._scaled(frame, "yuv444p16le").astype(np.float32)
        # The scaler keeps the range of the frame.
        low, high, swing = (0, 65535, 65535) if is_full_range(frame) else (4096, 60160, 57344)
        luma = (full[..., 0] - low) / np.float32(high - low)
        blue, red = ((full[..., one] - 32768) / np.float32(swing) for one in (1, 2))
        most, kind = (65535, np.uint16) if form == "rgb48le" else (255, np.uint8)
        shown = np.empty((*luma.shape, 3), kind)
        for channel, (y, cb, cr) in enumerate(np.asarray(matrix, np.float32)):
            value = y * luma + cb * blue + cr * red
            shown[..., channel] = np.rint(np.clip(value, 0, 1) * most)
        return shown

    def _upright(self, frame: av.VideoFrame, pixels: NDArray[Any]) -> NDArray[Any]:
        # Read once: a frame whose side data was read is freed by the next garbage collection only,
        # and hundreds of frames may wait for that.
        self._turn = self._turn or display_matrix(frame)
        a, b, c, d = self._turn
        if b:
            pixels, a, d = pixels.swapaxes(0, 1), c, b
        return np.ascontiguousarray(pixels[:: d or 1, :: a or 1])


def to_full_scale(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Scale values so that white, which swscale puts at 65283 for limited range, is 65535."""
    more = values // np.uint16(259)
    scaled: NDArray[np.uint16] = np.minimum(values, np.uint16(65535) - more) + more
    return scaled


def from_full_scale(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Invert `to_full_scale`: the values that swscale turns into limited range."""
    return values - values // np.uint16(260)


def display_matrix(frame: av.VideoFrame) -> _Matrix:
    """Read the display matrix of a frame: its rotation and mirroring.

    Raises:
        BadVideoError: turned by an angle that is no right angle.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    buffer: Any = data  # 3 x 3 numbers
    a, b, _, c, d = np.sign(np.frombuffer(buffer, dtype=np.int32)[:5]).tolist()
    if (a and d and not b and not c) or (b and c and not a and not d):
        return a, b, c, d
    raise BadVideoError("is turned by an angle that is no right angle")


def is_turned(frame: av.VideoFrame) -> bool:
    """Say whether a frame is displayed with its rows upright; see `display_matrix`."""
    return display_matrix(frame)[0] == 0


def depth_of(form: av.VideoFormat) -> int:
    """Bits of the deepest component of a pixel format, 8 at least."""
    return max([8, *(component.bits for component in form.components)])


def is_full_range(frame: av.VideoFrame) -> bool:
    """Say whether a frame uses all numbers, and not those from 16 to 235 only."""
    return frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")


def _is_limited(frame: av.VideoFrame) -> bool:
    """Say whether swscale converted it, from numbers from 16 to 235."""
    yuv = not frame.format.is_rgb and len(frame.format.components) >= 3
    return yuv and not is_full_range(frame) and _matrix_of(frame) not in _LINEAR


def _matrix_of(frame: av.VideoFrame) -> int:
    """Choose the matrix to convert a frame by: that of its tag, or one with the same numbers."""
    matrix = frame.colorspace
    if matrix in _SWSCALE:
        return matrix
    if frame.format.is_rgb or len(frame.format.components) < 3:
        return _UNSPECIFIED  # there is nothing to convert
    if matrix == _BT2020_CL:
        # ffmpeg has only the numbers of the other one; films with this tag mean that one.
        return _BT2020_NCL
    if matrix in _CHROMA_DERIVED:
        return _OF_PRIMARIES.get(frame.color_primaries, _UNSPECIFIED)
    if matrix in _NOT_READ:
        raise BadVideoError(f"has colours in {_NOT_READ[matrix]} (matrix {matrix}): not read here")
    return matrix if matrix in _LINEAR else _UNSPECIFIED
