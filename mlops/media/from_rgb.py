"""RGB -> the pixels that an encoder takes, as exactly as they allow.

Where colour is stored for every second column only, it is stored for the left one of two: that is
what decoders take files for that do not say it, and what they are read by. Anything else would move
colour by half a pixel with every copy.
"""

from fractions import Fraction
from typing import Any, final

import av
import av.filter
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from data_pipeline.sources.rgb import from_full_scale

_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_FROM_RGB = _EXACT | Interpolation.FULL_CHR_H_INP
_ANY_TIME_BASE = Fraction(1, 25)  # frames have no times here
_FLAGS = "bicubic+accurate_rnd+bitexact+full_chroma_inp"
# Numbers of H.273 -> ffmpeg's names of the same numbers.
_MATRICES = {
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020nc",
}


@final
class FromRgb:
    """Converts frames of one size.

    Args:
        pixels: ffmpeg's name of the pixel format to make.
        matrix: number of H.273 to convert by, where that has one; one of those ffmpeg knows.
        full_range: of YUV: use all numbers, and not those from 16 to 235.
    """

    def __init__(self, pixels: str, matrix: int, *, full_range: bool) -> None:
        self._pixels, self._matrix, self._full_range = pixels, matrix, full_range
        self._scaler = VideoReformatter()
        self._graph: av.filter.Graph | None = None

    def frame(self, values: NDArray[Any]) -> av.VideoFrame:
        """A frame of RGB [H,W,3], uint8 or uint16, as the encoder takes it."""
        form = "rgb48le" if values.dtype == np.uint16 else "rgb24"
        if form == "rgb48le" and self._pixels.startswith("yuv") and not self._full_range:
            values = from_full_scale(values)
        frame = av.VideoFrame.from_ndarray(values, format=form)
        if not self._pixels.startswith("yuv"):
            return self._scaler.reformat(frame, format=self._pixels, interpolation=_FROM_RGB)
        if self._graph is None:
            self._graph = self._scale(frame)
        self._graph.vpush(frame)
        return self._graph.vpull()

    def _scale(self, frame: av.VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=_ANY_TIME_BASE
        )
        how = {
            "flags": _FLAGS,
            "out_color_matrix": _MATRICES[self._matrix],
            "out_range": "full" if self._full_range else "limited",
            "out_chroma_loc": "left",
        }
        scale = graph.add("scale", ":".join(f"{name}={value}" for name, value in how.items()))
        made = graph.add("format", f"pix_fmts={self._pixels}")
        graph.link_nodes(source, scale, made, graph.add("buffersink")).configure()
        return graph
