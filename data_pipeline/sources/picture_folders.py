"""Reads a folder of pictures as footage: in natural order, upright.

Legend: `H`, `W` pixels as displayed; a frame is uint8 RGB [H,W,3].
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from data_pipeline.sources import pictures
from data_pipeline.sources.footage import LIMITS, Frame, Timed, VideoFacts
from data_pipeline.sources.listing import is_junk
from data_pipeline.sources.numbering import natural
from data_pipeline.sources.record import BadVideoError

SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")

_FORMATS = (*pictures.FORMATS, "GIF", "TIFF")


def pictures_of(folder: Path) -> list[Path]:
    """List the pictures of a folder in natural order: 2.png before 10.png.

    Files that systems leave there, and files that are no picture, are skipped.

    Raises:
        BadVideoError: two pictures differ in their endings only, so one of them is too many.
    """
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not is_junk(file.name) and file.is_file()
    ]
    files.sort(key=lambda file: (natural(file.stem), file.name))
    for one, other in pairwise(files):
        if one.stem == other.stem:
            raise BadVideoError(f"has two pictures of one name: {one.name} and {other.name}")
    return files


def facts_of(folder: Path, fps: Fraction) -> VideoFacts:
    """Read the properties of a folder of pictures.

    Raises:
        BadVideoError: it has no pictures, one cannot be read, or they are of several sizes.
    """
    files = pictures_of(folder)
    if not files:
        raise BadVideoError("has no pictures")
    sizes: dict[tuple[int, int], Path] = {}
    alpha = False
    for file in files:
        with _named(file), pictures.opened_file(file, LIMITS, _FORMATS) as image:
            sizes.setdefault(pictures.shown_size(image), file)
            alpha = alpha or image.has_transparency_data
    if len(sizes) > 1:
        (a, first), (b, second) = list(sizes.items())[:2]
        raise BadVideoError(
            f"has frames of two sizes: {first.name} is {a[0]}x{a[1]}, {second.name} is "
            f"{b[0]}x{b[1]}"
        )
    ((width, height),) = sizes
    return VideoFacts(
        path=folder, width=width, height=height, frames=len(files), fps=fps, alpha=alpha
    )


def timed(folder: Path) -> Iterator[Timed]:
    """Read the pictures of a folder as frames without times.

    Raises:
        BadVideoError: one cannot be read.
    """
    for file in pictures_of(folder):
        with _named(file):
            frame = read_picture(file)
        yield Timed(frame, None)


def read_picture(file: Path) -> Frame:
    """Read a picture as a frame.

    Raises:
        BadVideoError: it cannot be read.
    """
    with pictures.opened_file(file, LIMITS, _FORMATS) as image:
        return pictures.rgb(image)


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Add the name of the picture to errors."""
    try:
        yield
    except BadVideoError as error:
        raise BadVideoError(error.reason, f"{file.name}: {error.detail}".rstrip(": ")) from error
