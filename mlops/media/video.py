"""Footage in: a video file or a folder of pictures as frames in display order, upright.

Legend: `H`, `W` pixels as displayed; a frame is uint8 RGB [H,W,3].
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from data_pipeline.cli.command import UserError
from data_pipeline.sources import footage, numbering, picture_folders
from data_pipeline.sources.numbering import Numbers
from data_pipeline.sources.record import BadVideoError

Audio = footage.Audio
Colour = footage.Colour
Frame = footage.Frame
NO_COLOUR = footage.NO_COLOUR
Timed = footage.Timed
VideoFacts = footage.VideoFacts

PICTURES = picture_folders.SUFFIXES


def facts_of(path: Path, fps: Fraction | None = None) -> VideoFacts:
    """Look at a video file or a folder of pictures.

    Args:
        path: of either.
        fps: of a folder's pictures, which do not say it.

    Raises:
        UserError: not there, or no video.
    """
    with _in_a_line(path):
        if path.is_dir():
            assert fps is not None
            return picture_folders.facts_of(path, fps)
        return footage.facts_of(path)


def read(path: Path) -> Iterator[Frame]:
    """The frames of footage in display order, upright, one at a time.

    Raises:
        UserError: not there, no video, or it cannot be decoded.
    """
    return (timed.frame for timed in read_timed(path))


def read_timed(path: Path) -> Iterator[Timed]:
    """`read`, with the time of each frame."""
    with _in_a_line(path):
        yield from picture_folders.timed(path) if path.is_dir() else footage.timed(path)


def count(path: Path) -> int:
    """How many frames footage decodes to."""
    if path.is_dir():
        return len(pictures_of(path))
    with _in_a_line(path):
        return footage.count(path)


def pictures_of(folder: Path) -> list[Path]:
    """The pictures of a folder, in natural order: 2.png before 10.png.

    Raises:
        UserError: two of them differ in their endings only.
    """
    with _in_a_line(folder):
        return picture_folders.pictures_of(folder)


def numbers_of(path: Path) -> Numbers | None:
    """The numbers that the pictures of a folder carry; None where they carry none."""
    if not os.path.isdir(path):  # noqa: PTH112 (boxes are no path, and may be too long for one)
        return None
    return numbering.numbers_of([file.stem for file in pictures_of(path)])


def about_numbers(source: Path, beside: Mapping[str, str]) -> list[str]:
    """Describe gaps and offsets in the numbers of pictures that are used together, in lines.

    Args:
        source: VIDEO.
        beside: others, by what they are called; they are paired with it in their order. What is
            no folder is passed over.
    """
    own = numbers_of(source)
    lines = []
    if own and own.missing:
        lines.append(f"VIDEO {source}: frames {own.in_words()}")
    for what, path in beside.items():
        other = numbers_of(Path(path))
        if other and other.missing:
            lines.append(f"{what} {path}: pictures {other.in_words()}")
        if own and other and own.all != other.all and len(own.all) == len(other.all):
            lines.append(
                f"frames {own.in_words()} of VIDEO go in order with {other.in_words()} of {what}"
            )
    return lines


def read_picture(path: Path) -> Frame:
    """A picture as a frame, upright.

    Raises:
        UserError: it cannot be read.
    """
    with _in_a_line(path):
        return picture_folders.read_picture(path)


@contextmanager
def _in_a_line(path: Path) -> Iterator[None]:
    """Describe what is wrong with a video, in one line that names it."""
    try:
        yield
    except BadVideoError as error:
        cure = "give another file, or mend it first"
        if path.is_dir():
            cure = "give a folder of frames as PNG or JPEG"
        raise UserError(f"{path} {error}: {cure}") from error
