"""Turns a stored picture into a JPEG of the data set's size; one that is that keeps its bytes."""

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from data_pipeline.format import sample
from data_pipeline.sources.fit import Fit, fitted, is_other_shape
from data_pipeline.sources.record import BadVideoError, Limits, SourceStats, SourceVideo

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")

_ORIENTATION = 0x0112  # tag of EXIF
_UPRIGHT = 1
# A progressive JPEG refines the whole picture with each scan; encoders write about ten.
_MAX_SCANS = 200
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


def check_sizes(sizes: Iterable[int], max_bytes: int) -> None:
    """Refuse stored pictures of more than `max_bytes` bytes.

    Raises:
        BadVideoError: there is one.
    """
    if max(sizes, default=0) > max_bytes:
        raise BadVideoError(f"has a picture of more than {max_bytes} bytes")


def to_jpeg(
    data: bytes, size: tuple[int, int], limits: Limits, seen: SourceStats, fit: Fit = "stretch"
) -> bytes:
    """Turn a stored picture into a JPEG of the data set's size.

    Args:
        data: the picture's bytes.
        size: size of the data set's frames, (W, H) in pixels.
        limits: limits on the picture.
        seen: gets the size of the first picture of a video.
        fit: treatment of a picture of another shape.

    Raises:
        BadVideoError: it is damaged, of another kind, or too large.
    """
    with opened(data, limits) as image:
        shown = shown_size(image)
        if not seen.width:
            seen.width, seen.height = shown
        seen.other_shape |= is_other_shape(shown, size)
        image.load()  # even where the bytes are kept: they must be sound
        if _is_final(image, size):
            return data
        return sample.encode_frame(fitted(rgb(image), size, fit))


@contextmanager
def opened(
    data: bytes, limits: Limits, formats: tuple[str, ...] = FORMATS
) -> Iterator[Image.Image]:
    """Open a picture and check its header against the limits; nothing is decoded yet.

    Args:
        data: the picture's bytes.
        limits: limits on the picture.
        formats: Pillow's names of the formats that are read.

    Raises:
        BadVideoError: here or in the block, for whatever Pillow says of the picture.
    """
    if data.count(_SCAN) > _MAX_SCANS:
        raise BadVideoError(f"has a picture of more than {_MAX_SCANS} scans")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and of odd headers; what is too large is said below.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=formats) as image:
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


@contextmanager
def opened_file(
    file: Path, limits: Limits, formats: tuple[str, ...] = FORMATS
) -> Iterator[Image.Image]:
    """Open a file on disk as `opened` does."""
    try:
        data = file.read_bytes()
    except OSError as error:
        reason = "has a picture that cannot be read"
        raise BadVideoError(reason, error.strerror or str(error)) from error
    with opened(data, limits, formats) as image:
        yield image


def _is_final(image: Image.Image, size: tuple[int, int]) -> bool:
    """Say whether the stored bytes can be kept: a colour JPEG of the right size, upright."""
    return (
        image.format == "JPEG"
        and image.mode == "RGB"
        and image.size == size
        and _orientation(image) == _UPRIGHT
    )


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
    return orientation if orientation in range(1, 9) else _UPRIGHT


def shown_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of a picture as displayed, pixels, from its header."""
    width, height = image.size
    return (height, width) if _orientation(image) > 4 else (width, height)


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Decode a picture as displayed, uint8 [h, w, 3].

    Raises:
        BadVideoError: it has 32-bit numbers, whose white is unknown.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        # Pillow would clip; of other 16-bit pictures it drops a byte.
        grey = np.asarray(upright) >> 8
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if upright.mode in ("I", "F"):
        raise BadVideoError("has a picture of 32-bit numbers", upright.mode)
    return np.asarray(upright.convert("RGB"))
