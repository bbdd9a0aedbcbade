"""Marks of the command line -> the mask of each frame that has some.

Legend: `H`, `W` pixels as displayed; a mask is bool [H,W], True = the object.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.cli.command import UserError
from mlops.config import MasksConfig
from mlops.masking.scene import Scene
from mlops.masking.selecting import (
    Box,
    Point,
    check_box,
    check_points,
    from_box,
    from_points,
)
from mlops.media.mask_reading import masks_for
from mlops.media.video import PICTURES, VideoFacts

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_AT = re.compile(r"(.*?)(?:@(\d+))?")


@dataclass(slots=True)
class Marks:
    """What is marked on one frame."""

    boxes: list[Box] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)

    def check(self, width: int, height: int) -> None:
        """Refuse what lies outside of the frame (UserError)."""
        for box in self.boxes:
            check_box(box, width, height)
        check_points(self.points, width, height)

    def mask(self, scene: Scene, frame: Frame, number: int) -> Mask:
        """The mask that they mean together: boxes and masks united, then points.

        Raises:
            UserError: a mark is outside of the frame, or what is marked is empty.
        """
        whole = np.zeros(frame.shape[:2], np.bool_)
        for mask in self.masks:
            whole |= mask
        moved = scene.moved(number) if self.boxes or self.points else None
        for box in self.boxes:
            whole |= from_box(frame, box, moved)
        if self.points and not (self.boxes or self.masks):
            return from_points(frame, self.points, moved)
        if any(on for _, _, on in self.points):
            whole |= from_points(frame, self.points, moved)
        if any(not on for _, _, on in self.points):
            others = [(x, y, not on) for x, y, on in self.points]
            whole &= ~from_points(frame, others, moved)
        return whole


def marks_of(config: MasksConfig, facts: VideoFacts) -> dict[int, Marks]:
    """Read the marks of a command line, by the number of their frame; one without is `gone`.

    Raises:
        UserError: a mark cannot be read, or its frame is not in the video.
    """
    marks: dict[int, Marks] = {}

    def each(flag: str, texts: Iterable[str]) -> Iterable[tuple[Marks, str]]:
        for text in texts:
            found = _AT.fullmatch(text)
            assert found is not None
            what, at = found.groups()
            yield marks.setdefault(_frame(flag, text, int(at or 0), facts), Marks()), what

    for one, text in each("--box", config.box):
        x, y, width, height = _numbers("--box", text, "x,y,width,height")
        one.boxes.append((x, y, x + width, y + height))
    for flag, texts, on in (
        ("--point", config.point, True),
        ("--point-off", config.point_off, False),
    ):
        for one, text in each(flag, texts):
            x, y = _numbers(flag, text, "x,y")
            one.points.append((x, y, on))
    for one, text in each("--mask", config.mask):
        one.masks.append(_picture(text, facts))
    for number in config.gone:
        if marks.setdefault(_frame("--gone", str(number), number, facts), Marks()) != Marks():
            raise UserError(f"frame {number} is --gone and has marks too: leave one out")
    for one in marks.values():
        one.check(facts.width, facts.height)
    return marks


def _frame(flag: str, text: str, number: int, facts: VideoFacts) -> int:
    if not 0 <= number < facts.frames:
        raise UserError(
            f"{flag} {text}: frame {number} is not in {facts.path}, which has frames 0 to "
            f"{facts.frames - 1}"
        )
    return number


def _numbers(flag: str, text: str, shape: str) -> Sequence[int]:
    words = text.split(",")
    try:
        numbers = [int(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != len(shape.split(",")):
        raise UserError(f"{flag} {text!r} cannot be read: give {shape} in pixels, or with @FRAME")
    return numbers


def _picture(text: str, facts: VideoFacts) -> Mask:
    """The mask in a picture.

    Raises:
        UserError: it is none, is of another size, or has nothing in it.
    """
    path = Path(text)
    if path.suffix.lower() not in PICTURES:
        raise UserError(f"--mask {path} is no picture: give a PNG of the object in one frame")
    (mask,) = itertools.islice(masks_for(text, facts).each, 1)
    if not mask.any():
        raise UserError(f"--mask {path} is empty: mark at least one pixel of the object in white")
    return np.asarray(mask, np.bool_)
