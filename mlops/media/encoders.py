"""How footage is encoded: which encoder, which pixels, and what its numbers mean as colours.

Depth and colours follow the source, so that every player shows the result as it shows the source.
Numbers of colours: ITU-T H.273.
"""

from dataclasses import dataclass, field

import av

from data_pipeline.cli.command import UserError
from mlops.media.mastering import Mastering
from mlops.media.video import Colour, VideoFacts

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""ffmpeg's names of the containers."""

_GBR, _BT709, _UNSPECIFIED, _BT601, _BT2020, _BT2020_CL = 0, 1, 2, 6, 9, 10
_SRGB = 13  # transfer of pictures
_HDR = {16: "PQ", 18: "HLG"}  # transfers that 8 bits are too few for
_MATRICES = (1, 4, 5, 6, 7, 9)  # swscale has numbers for
# x265 gives a film of fewer frames than it reorders times that it never set.
_FEW = 8
_SMALLEST_HD = (1280, 577)  # from this width or height on players take BT.709 for what says nothing


@dataclass(frozen=True, slots=True)
class _Codec:
    encoder: str
    crf: int
    """CRF at which the result looks like its source."""
    most_crf: int
    suffixes: tuple[str, ...]
    pixels: dict[int, str] = field(default_factory=lambda: {8: "yuv420p"})
    """ffmpeg's names, by bits of a component."""


_TEN = {8: "yuv420p", 10: "yuv420p10le"}
CODECS = {
    "h264": _Codec("libx264", 18, 51, (".mp4", ".mov", ".mkv"), _TEN),
    "hevc": _Codec("libx265", 20, 51, (".mp4", ".mov", ".mkv"), _TEN | {12: "yuv420p12le"}),
    "vp9": _Codec("libvpx-vp9", 24, 63, (".webm", ".mkv", ".mp4")),
    "av1": _Codec("libsvtav1", 24, 63, (".mp4", ".webm", ".mkv"), _TEN),
}
# What decodes to the very RGB that was given.
_RGB = _Codec("libx264rgb", 0, 0, (".mp4", ".mov", ".mkv"), {8: "rgb24"})
_LOSSLESS = {
    ".mp4": _RGB,
    ".mov": _RGB,
    ".mkv": _Codec("ffv1", 0, 0, (".mkv",), {8: "bgr0", 16: "rgb48le"}),
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """An encoder for one video."""

    encoder: str
    pixels: str
    depth: int
    """Bits of a component."""
    options: dict[str, str]
    has_aspect: bool
    """The shape of pixels is in the file."""

    @property
    def yuv(self) -> bool:
        """Colour is written at half the size."""
        return self.pixels.startswith("yuv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How a file is written."""

    codec: str = "h264"
    """One of `CODECS`."""
    crf: int | None = None
    """Quality, 0 = best; None = so that it looks like the source."""
    lossless: bool = False
    """Instead: what decodes to the very same RGB."""

    def check(self, suffix: str, what: str = "OUT") -> None:
        """Refuse what cannot be.

        Args:
            suffix: of the file to write, in lower case.
            what: the command line's name of it.

        Raises:
            UserError: no such container, or it does not take the codec; crf out of range.
        """
        if suffix not in FORMATS:
            raise UserError(
                f"{what} ends in {suffix!r}: give {', '.join(FORMATS)}, or a name without an "
                "ending for a folder of PNGs"
            )
        if self.lossless:
            if suffix not in _LOSSLESS:
                raise UserError(
                    f"--lossless does not fit {suffix}: give {what} as {', '.join(_LOSSLESS)}, or "
                    "as a folder of PNGs"
                )
            return
        codec = CODECS[self.codec]
        if suffix not in codec.suffixes:
            fitting = [name for name, one in CODECS.items() if suffix in one.suffixes]
            raise UserError(
                f"{suffix} does not take {self.codec}: give --codec {' or '.join(fitting)}, or "
                f"{what} as {', '.join(codec.suffixes)}"
            )
        if self.crf is not None and not 0 <= self.crf <= codec.most_crf:
            raise UserError(
                f"--crf is {self.crf}: give 0 (best) to {codec.most_crf} (worst) for {self.codec}"
            )

    def check_depth(self, suffix: str, facts: VideoFacts, what: str = "OUT") -> None:
        """Refuse to write high dynamic range, which needs 10 bits, in fewer; see `check`.

        Raises:
            UserError: it would be.
        """
        light = _HDR.get(facts.colour.transfer)
        if light is None or facts.depth == 8 or self.chosen(suffix, facts).depth > 8:
            return
        cure = (
            f"{what} as .mkv or as a folder of PNGs"
            if self.lossless
            else f"--codec {' or '.join(n for n, c in CODECS.items() if max(c.pixels) > 8)}"
        )
        name = f"--lossless in {suffix}" if self.lossless else f"--codec {self.codec}"
        raise UserError(
            f"VIDEO is HDR ({light}, {facts.depth} bits), and {name} has 8 bits: give {cure}"
        )

    def chosen(self, suffix: str, facts: VideoFacts, mastering: Mastering | None = None) -> Chosen:
        """Encoder for footage like this, with its options."""
        codec = _LOSSLESS[suffix] if self.lossless else CODECS[self.codec]
        if self.lossless and facts.depth == 8 and facts.aspect != 1:
            codec = _RGB  # has a place for the shape of pixels, which Matroska by PyAV has not
        depth = min((d for d in codec.pixels if d >= facts.depth), default=max(codec.pixels))
        crf = codec.crf if self.crf is None or self.lossless else self.crf
        aspect = suffix in (".mp4", ".mov") or codec.encoder.startswith(("libx264", "libx265"))
        options = _options(codec, crf, mastering, few=facts.frames < _FEW)
        if codec.encoder == "libx264" and facts.width * facts.height > _HD_PIXELS:
            ahead = _X264_AHEAD * _HD_PIXELS // (facts.width * facts.height)
            options["rc-lookahead"] = str(max(ahead, _MIN_AHEAD))
        return Chosen(codec.encoder, codec.pixels[depth], depth, options, aspect)


def _options(codec: _Codec, crf: int, mastering: Mastering | None, *, few: bool) -> dict[str, str]:
    options = {} if codec.encoder == "ffv1" else {"crf": str(crf)}
    if codec.encoder == "libvpx-vp9":
        options["b"] = "0"  # else crf is only a floor
    elif codec.encoder.startswith("libx264"):
        # The same bytes whatever machine of a cluster encodes: its faster code differs in rounding.
        params = ["cpu-independent=1", *([mastering.x264()] if mastering else [])]
        options["x264-params"] = ":".join(params)
    elif codec.encoder == "libx265":
        # It writes to the terminal past ffmpeg's log.
        params = [mastering.x265()] if mastering else []
        params += ["bframes=0"] if few else []
        options["x265-params"] = ":".join(["log-level=none", *params])
    elif codec.encoder == "libsvtav1" and mastering:
        options["svtav1-params"] = mastering.svt()
    return options


# Frames that x264 looks ahead by itself, and holds, 20 MB each in 4K; of larger frames fewer.
_X264_AHEAD, _MIN_AHEAD = 40, 4
_HD_PIXELS = 1920 * 1088


@dataclass(frozen=True, slots=True)
class Tags:
    """Colour matrix of the conversion, and the colour tags of the file."""

    matrix: int
    """For the conversion; of what is written in RGB without a meaning."""
    declared: Colour


def tags(facts: VideoFacts, chosen: Chosen, size: tuple[int, int]) -> Tags:
    """Colours as of the source.

    What says nothing of its colours is converted back by the very matrix that it was read by, and
    says nothing again: whatever a player takes it for, the two look alike. RGB gets the matrix that
    players take for its size, and says so.

    Args:
        facts: the source.
        chosen: of what is written.
        size: width and height of what is written.
    """
    colour = facts.colour
    rgb = is_rgb(facts.pixels)
    primaries, transfer = colour.primaries, colour.transfer
    if rgb and primaries == _UNSPECIFIED and transfer == _UNSPECIFIED:
        primaries, transfer = _BT709, _SRGB
    if not chosen.yuv:
        return Tags(_GBR, Colour(_GBR, primaries, transfer, True))
    matrix = _BT2020 if colour.matrix == _BT2020_CL else colour.matrix
    if matrix not in _MATRICES and (rgb or matrix != _UNSPECIFIED):
        hd = size[0] >= _SMALLEST_HD[0] or size[1] >= _SMALLEST_HD[1]
        matrix = _BT2020 if primaries == _BT2020 else _BT709 if hd else _BT601
    by = _BT601 if matrix == _UNSPECIFIED else matrix
    return Tags(by, Colour(matrix, primaries, transfer, colour.full_range and not rgb))


def is_rgb(pixels: str) -> bool:
    """Return True when a pixel format, by ffmpeg's name, has no matrix."""
    return pixels == "pal8" or av.VideoFormat(pixels, 16, 16).is_rgb
