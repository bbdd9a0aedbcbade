"""What is known of a video: before its frames are read, while, and why it cannot be used."""

from dataclasses import dataclass
from typing import Literal

TRAIN = "train"
TEST = "test"


class BadVideoError(Exception):
    """This video cannot be used.

    Args:
        reason: why, in a few words that are the same on every machine; the catalogue keeps them.
        detail: what a library said about it; kept in the manifest, outside of the digest.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class SourceVideo:
    """One video before its frames are read."""

    id: str
    """Key in the data set."""
    split: str
    """`train`, `test`, ..."""
    kind: Literal["file", "folder", "zip"]
    """How its frames are stored."""
    uri: str
    """Where the file, folder or zip is: an absolute path or s3://bucket/key."""
    name: str
    """What it is called below the input; kept in the data set."""
    frames: int
    """Frames that the container, the folder or the zip promises."""
    bytes: int
    """Of the file, or of all pictures of the folder."""
    fps: str
    """Frames per second, as a fraction."""
    annotations: str = ""
    """Folder of label pictures, one per annotated frame, named like the frames; "" for none."""
    bad: str = ""
    """Why it cannot be used, where that is known already; "" for a video worth trying."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """Where the annotated objects of a video are: no more than a mask needs."""

    id: str
    """Of the video."""
    uri: str
    """Of the folder of its frames: an annotation's place is that of the frame of its name."""
    name: str
    """Of that folder, below the input."""
    annotations: str
    """URI of the folder of its label pictures, named like the frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a video may cost; beyond that it is refused. All part of a data set's settings."""

    min_frames: int
    """Fewest frames of a video."""
    max_frames: int
    """Most frames of a video."""
    max_pixels: int
    """Most pixels of a frame before it is resized."""
    max_frame_bytes: int
    """Most bytes of one stored picture, unpacked."""


@dataclass(slots=True)
class Seen:
    """What becomes known while the frames of a video are read; complete at their end."""

    width: int = 0
    """Of the source's frames, pixels, as they are shown."""
    height: int = 0
    """Of the source's frames, pixels, as they are shown."""
    sha256: str = ""
    """Of the file, or of the pictures of a folder one after the other."""
