"""Records of videos: before their frames are read, after, and why one cannot be used."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from data_pipeline.cli.command import Refused, UserError

TRAIN = "train"
TEST = "test"


class BadVideoError(Exception):
    """This video cannot be used.

    Args:
        reason: a few words that are the same on every machine; the catalogue keeps them.
        detail: message of a library; kept in the manifest, outside of the digest.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason
        self.detail = detail


@contextmanager
def errors_as_bad_video() -> Iterator[None]:
    """Turn unexpected errors into a `BadVideoError`: they reject one video, and not the job.

    Raises:
        BadVideoError: instead of the unexpected error.
    """
    try:
        yield
    except (BadVideoError, UserError, Refused, MemoryError):
        raise
    except Exception as error:
        what = " ".join(str(error).split())
        raise BadVideoError(f"makes its reader fail ({type(error).__name__})", what) from error


@dataclass(frozen=True, slots=True)
class Photo:
    """What a video is made of that comes from photographs."""

    id: str
    """Id of the photograph that the camera moves over."""
    seed: int
    """Seed of the camera."""
    others: tuple[str, ...] = ()
    """URIs of the photographs that layers are cut from."""


@dataclass(frozen=True, slots=True)
class SourceVideo:
    """Record of a video before its frames are read."""

    id: str
    """Key in the data set."""
    split: str
    """`train`, `test`, ..."""
    kind: Literal["file", "folder", "zip", "photo"]
    """Storage of its frames."""
    uri: str
    """Place of the file, folder or zip: an absolute path or s3://bucket/key."""
    name: str
    """Name below the input; kept in the data set."""
    frames: int
    """Frames that the container, the folder or the zip declares."""
    bytes: int
    """Size of the file, or of all pictures of the folder."""
    fps: str
    """Frames per second, as a fraction."""
    annotations: str = ""
    """Folder of label pictures, one per annotated frame, named like the frames; "" for none."""
    bad: str = ""
    """Reason why it cannot be used, where that is known already; else ""."""
    photo: Photo | None = None
    """Of a video that is made from photographs."""

    @property
    def footage(self) -> str:
        """Id of what it was filmed or made from: videos of one photograph are in one split."""
        return self.photo.id if self.photo else self.id


@dataclass(frozen=True, slots=True)
class AnnotatedVideo:
    """Place of the annotated objects of a video: no more than a mask needs."""

    id: str
    """Id of the video."""
    uri: str
    """Folder of its frames: an annotation belongs to the frame of the same name."""
    name: str
    """Name of that folder, below the input."""
    annotations: str
    """URI of the folder of its label pictures, named like the frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits beyond which a video is refused; part of a data set's settings."""

    min_frames: int
    """Minimum number of frames of a video."""
    max_frames: int
    """Maximum number of frames of a video."""
    max_pixels: int
    """Maximum number of pixels of a frame before it is resized."""
    max_frame_bytes: int
    """Maximum size of one stored picture, unpacked, bytes."""


@dataclass(slots=True)
class SourceStats:
    """Facts about a source that are filled while its frames are read; complete at their end."""

    width: int = 0
    """Width of the source's frames as displayed, pixels."""
    height: int = 0
    """Height of the source's frames as displayed, pixels."""
    sha256: str = ""
    """Hash of the file, or of the concatenated pictures of a folder."""
    other_shape: bool = False
    """A frame is of another shape than the data set's."""
