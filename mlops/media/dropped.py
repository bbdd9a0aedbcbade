"""Properties of a source that its output does not keep, in words; side data of its frames."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import av
import numpy as np

from data_pipeline.sources import decoding
from mlops.media.encoders import Chosen, is_rgb
from mlops.media.mastering import Mastering, mastering_of
from mlops.media.tracks import counted, kind_of, stated_metadata
from mlops.media.video import VideoFacts

_LOOKED_AT = 8  # frames: captions may begin with any
STEREO = "stereo 3D"
_NAMES = {
    "A53_CC": "closed captions",
    "AMBIENT_VIEWING_ENVIRONMENT": "ambient viewing environment",
    "DOVI_METADATA": "Dolby Vision",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
    "ICC_PROFILE": "colour profile",
    "S12M_TIMECODE": "timecode",
    "SPHERICAL": "spherical projection",
    "STEREO3D": STEREO,
}
_TELL_MASTERING = ("libx264", "libx265", "libsvtav1")
_SIDE = 16  # pixels, to ask a format for the size of its colour
_CHROMA = {(16, 16): "4:4:4", (8, 16): "4:2:2", (16, 8): "4:4:0", (4, 16): "4:1:1"}


@dataclass(frozen=True, slots=True)
class Look:
    """Side data of frames."""

    mastering: Mastering | None = None
    more: tuple[str, ...] = ()
    """In words; no encoder takes it."""


def of_pictures(facts: VideoFacts) -> bool:
    """True for a folder of pictures, and for footage that was never a file."""
    return facts.time_base is None


def look(facts: VideoFacts) -> Look:
    """Look at the first frames of a source.

    Raises:
        BadVideoError: it cannot be read any more.
    """
    if of_pictures(facts):
        return Look()
    more: set[str] = set()
    mastering = None
    # Damage is reported when it is read, and a kind of data that PyAV has no name for is none.
    damaged = suppress(av.FFmpegError, OSError, ValueError)
    with decoding.opened(facts.path) as container, damaged:
        stream = decoding.video_stream(container)
        for frame in islice(container.decode(stream), _LOOKED_AT):
            mastering = mastering or mastering_of(frame)
            more |= set(_said_by(frame))
    return Look(mastering, tuple(sorted(more)))


def _said_by(frame: av.VideoFrame) -> list[str]:
    found = []
    all_data: Any = frame.side_data  # gives buffers, and not the keys that its stub tells of
    for data in all_data:
        kind = data.type.name
        flat = kind == "STEREO3D" and not np.frombuffer(data, np.int32)[0]
        if kind in _NAMES and not flat:
            found.append(_NAMES[kind])
    return found


def lost(facts: VideoFacts, seen: Look, chosen: Chosen) -> list[str]:
    """Properties of its source's pixels, and of their meaning, that a video file does not keep."""
    words = ["alpha"] if facts.alpha else []
    if facts.depth > chosen.depth:
        words.append(f"{facts.depth} bits ({chosen.depth} are written)")
    if chosen.yuv and (colour := _colour_detail(facts.pixels)):
        words.append(f"{colour} colour (4:2:0 is written: --lossless keeps it)")
    if facts.interlaced:
        words.append("fields (they were made whole frames)")
    if seen.mastering and chosen.encoder not in _TELL_MASTERING:
        words.append("mastering display and light levels")
    if facts.aspect != 1 and not chosen.has_aspect:
        words.append(f"{_aspect(facts)} (OUT as .mp4 keeps it)")
    return words + list(seen.more)


def _aspect(facts: VideoFacts) -> str:
    return f"pixel aspect {facts.aspect.numerator}:{facts.aspect.denominator}"


def _colour_detail(pixels: str) -> str:
    """Return what a pixel format, by its name, has and 4:2:0 has not; "" for nothing."""
    if is_rgb(pixels):
        return "RGB"
    form = av.VideoFormat(pixels, _SIDE, _SIDE)
    if len(form.components) < 3:
        return ""
    return _CHROMA.get((form.chroma_width(_SIDE), form.chroma_height(_SIDE)), "")


def lost_in_pictures(facts: VideoFacts) -> list[str]:
    """Properties that a folder of PNGs does not keep; audio is reported elsewhere."""
    words = ["alpha"] if facts.alpha else []
    if facts.interlaced:
        words.append("fields (they were made whole frames)")
    if facts.aspect != 1:
        words.append(_aspect(facts))
    if of_pictures(facts):
        return words
    seen = look(facts)
    words += [*(["mastering display and light levels"] if seen.mastering else []), *seen.more]
    with decoding.opened(facts.path) as source:
        frames = decoding.video_stream(source).index
        others = [one for one in source.streams if one.type != "audio" and one.index != frames]
        words += counted(Counter(map(kind_of, others)))
        words += ["chapters"] if source.chapters() else []
        words += ["metadata"] if stated_metadata(source.metadata) else []
    return words
