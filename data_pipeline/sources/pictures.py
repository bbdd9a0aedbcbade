"""One stored picture -> JPEG at the data set's size: its own bytes where it is that already."""

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from data_pipeline import sample
from data_pipeline.sources.record import BadVideoError, Limits, Seen, SourceVideo

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")

_ORIENTATION = 0x0112  # tag of EXIF
_UPRIGHT = 1
# A progressive JPEG refines the whole picture with each scan; encoders write about ten.
_MOST_SCANS = 200
_SCAN = b"\xff\xda"


def check_count(found: int, video: SourceVideo, limits: Limits) -> None:
    """Refuse a video that holds other pictures than were listed, or too many.

    Raises:
        BadVideoError: it does.
    """
    if found != video.frames:
        raise BadVideoError(f"has {found} frames, but {video.frames} are listed")
    if found > limits.max_frames:
        raise BadVideoError(f"has {found} frames, more than {limits.max_frames}")


def check_sizes(sizes: Iterable[int], most: int) -> None:
    """Refuse stored pictures of more than `most` bytes.

    Raises:
        BadVideoError: there is one.
    """
    if max(sizes, default=0) > most:
        raise BadVideoError(f"has a picture of more than {most} bytes")


def to_jpeg(data: bytes, width: int, height: int, limits: Limits, seen: Seen) -> bytes:
    """A stored picture as JPEG of [height, width].

    Args:
        data: the picture's bytes.
        width: of the data set's frames, pixels.
        height: of the data set's frames, pixels.
        limits: what it may cost.
        seen: told the size of the first picture of a video.

    Raises:
        BadVideoError: it is damaged, of another kind, or too large.
    """
    with opened(data, limits) as image:
        if not seen.width:
            seen.width, seen.height = _shown_size(image)
        image.load()  # even where the bytes are kept: they must be sound
        if _is_final(image, width, height):
            return data
        return sample.encode_frame(resized(_rgb(image), width, height))


def resized(frame: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A frame, uint8 [h, w, 3], at the data set's size, uint8 [H, W, 3]."""
    if frame.shape[:2] == (height, width):
        return frame
    image = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


@contextmanager
def opened(data: bytes, limits: Limits) -> Iterator[Image.Image]:
    """A picture whose header was read and is within the limits; nothing is decoded yet.

    Raises:
        BadVideoError: here or in the block, for whatever Pillow says of the picture.
    """
    if data.count(_SCAN) > _MOST_SCANS:
        raise BadVideoError(f"has a picture of more than {_MOST_SCANS} scans")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and of odd headers; what is too large is said below.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > limits.max_pixels:
                    raise BadVideoError(f"has a picture of more than {limits.max_pixels} pixels")
                yield image
    except BadVideoError:
        raise
    except Image.DecompressionBombError as error:
        raise BadVideoError(
            f"has a picture of more than {limits.max_pixels} pixels", str(error)
        ) from error
    except Exception as error:  # the readers of a dozen formats raise whatever comes to them
        raise BadVideoError("has a picture that cannot be decoded", str(error)) from error


def _is_final(image: Image.Image, width: int, height: int) -> bool:
    """Say whether the stored bytes are what the data set wants: baseline colour JPEG, upright."""
    return (
        image.format == "JPEG"
        and image.mode == "RGB"
        and image.size == (width, height)
        and _orientation(image) == _UPRIGHT
    )


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
    return orientation if orientation in range(1, 9) else _UPRIGHT


def _shown_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) > 4 else (width, height)


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """The picture as it is shown, uint8 [h, w, 3]."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        # Pillow would clip; of other 16-bit pictures it drops a byte.
        grey = np.asarray(upright) >> 8
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    return np.asarray(upright.convert("RGB"))
