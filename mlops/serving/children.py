"""Work on files that anybody sent, for processes of its own: see `isolated.py`.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3], a mask bool [H,W].
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_pipeline.cli.command import UserError
from data_pipeline.storage import disk
from mlops.config import Filling, InpaintConfig
from mlops.inpainting.inpaint import prepared
from mlops.masking import selecting
from mlops.masking.on_disk import FramesOnDisk
from mlops.masking.tracking import track
from mlops.media import video
from mlops.media.mask_reading import brightness

SIDE = 960  # longer side of the frames that a page is shown, and that masks are made on, pixels
WHOLE = "whole.json"  # written last into a folder of frames or masks: {"frames": n}
_JPEG_QUALITY = 90
_WHITE_ON_NOTHING = (0, 0, 0, 255, 255, 255)

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at a video found."""

    width: int
    height: int
    frames: int
    fps: str
    audio: int


class NotAVideo(UserError):  # noqa: N818 (it is the user's)
    """A file that nothing here decodes."""


def look_at(path: Path) -> Look:
    """Look at a video.

    Raises:
        NotAVideo: it is none.
    """
    try:
        facts = video.facts_of(path)
    except UserError as error:
        raise NotAVideo(str(error).replace(str(path), "video")) from error
    return Look(
        width=facts.width,
        height=facts.height,
        frames=facts.frames,
        fps=str(facts.fps),
        audio=len(facts.audio),
    )


def check(source: Path, mask: str, out: Path, filling: Filling) -> None:
    """Refuse a video, a mask and options that do not fit each other, before they wait.

    Raises:
        UserError: they do not.
    """
    config = InpaintConfig(
        video=str(source), mask=mask, out=out, model="starter", tracking_uri="", filling=filling
    )
    try:
        with redirect_stdout(io.StringIO()), prepared(config):
            pass
    except UserError as error:
        raise UserError(named(str(error), source, mask)) from error


def named(text: str, source: Path, mask: str) -> str:
    """Say `video` and `mask` in a message that has their paths."""
    for path, name in ((str(source), "video"), (mask, "mask")):
        text = re.sub(f"(?:{name} )?'?{re.escape(path)}'?", name, text, flags=re.IGNORECASE)
    return text


def count(folder: Path) -> int:
    """Return how many frames or masks a whole folder has."""
    return int(json.loads((folder / WHOLE).read_bytes())["frames"])


def make_frames(source: Path, folder: Path) -> int:
    """Write the frames of a video as small JPEGs, 00000.jpg ...; returns how many.

    Raises:
        UserError: it cannot be decoded to its end.
        DiskFull: there is no room.
    """
    number = 0
    with disk.writing(folder):
        folder.mkdir(exist_ok=True)
        for number, frame in enumerate(video.read(source), 1):
            _write_whole(_jpeg(_small(frame)), folder / f"{number - 1:05d}.jpg")
        _write_whole(json.dumps({"frames": number}).encode(), folder / WHOLE)
    return number


def select(
    frame: Path,
    size: tuple[int, int],
    box: Sequence[float] | None,
    points: Sequence[tuple[float, float, bool]],
) -> bytes:
    """Mask of what was marked on a frame, as a PNG of the frame's size, white on nothing.

    Args:
        frame: JPEG of `make_frames`.
        size: width and height of the video, the pixels that the marks are in.
        box: left, top, right, bottom; None = `points` say it.
        points: x, y and whether it is on the object.
    """
    picture = _read(frame)
    x, y = picture.shape[1] / size[0], picture.shape[0] / size[1]
    if box is not None:
        x0, y0, x1, y1 = box
        inside = (
            max(0, round(min(x0, x1) * x)),
            max(0, round(min(y0, y1) * y)),
            min(picture.shape[1], round(max(x0, x1) * x)),
            min(picture.shape[0], round(max(y0, y1) * y)),
        )
        return _png(selecting.from_box(picture, inside))
    scaled = [(int(a * x), int(b * y), on) for a, b, on in points]
    return _png(selecting.from_points(picture, scaled))


def take_mask(data: bytes, size: tuple[int, int], target: Path) -> None:
    """Write the mask of one frame, sent as a picture of any size, at the video's size.

    Raises:
        UserError: it is no picture.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > 2**27:
                raise UserError(f"the mask has {image.width}x{image.height} pixels: send fewer")
            mask = brightness(image) > 127
    except OSError as error:
        raise UserError("the mask is no PNG: send one, white where something is to go") from error
    with disk.writing(target):
        target.parent.mkdir(exist_ok=True)
        _write_whole(_png(_at(mask, size)), target)


def make_masks(
    frames: Path, anchors: Path, folder: Path, size: tuple[int, int], *, still: bool
) -> int:
    """Write a mask for each frame, 00000.png ... of the video's size; returns how many.

    Args:
        frames: folder of `make_frames`, whole.
        anchors: folder with masks of some frames, named by their numbers.
        folder: new, to write to.
        size: width and height of the video.
        still: the thing stands still: the mask of a frame is that of the last anchor at or before
            it, or of the first one.

    Raises:
        UserError: no anchor has a mask.
    """
    pictures = FramesOnDisk(frames, count(frames))
    given = {int(file.stem): file for file in sorted(anchors.glob("*.png"))}
    if not given:
        raise UserError("no frame has a mask yet: mark what should go on one of them")
    masks = _standing(given, len(pictures)) if still else _tracked(pictures, given)
    number = 0
    with disk.writing(folder):
        folder.mkdir()
        for number, mask in enumerate(masks, 1):
            data = mask if isinstance(mask, bytes) else _png(_at(mask, size))
            _write_whole(data, folder / f"{number - 1:05d}.png")
        _write_whole(json.dumps({"frames": number}).encode(), folder / WHOLE)
    return number


def _standing(given: dict[int, Path], frames: int) -> Iterator[bytes]:
    last = given[min(given)].read_bytes()
    for number in range(frames):
        last = given[number].read_bytes() if number in given else last
        yield last


def _tracked(pictures: FramesOnDisk, given: dict[int, Path]) -> Iterator[bytes | Mask]:
    """Masks by tracking; those of the anchors are the very ones that were given."""
    size = pictures[0].shape[1], pictures[0].shape[0]
    anchors = {number: _at(_mask(file), size) for number, file in given.items()}
    for number, mask in enumerate(track(pictures, anchors)):
        yield given[number].read_bytes() if number in given else mask


def _small(frame: Frame) -> Frame:
    height, width = frame.shape[:2]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return frame
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _at(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask at another size (width, height), with smooth edges where it grows."""
    if (mask.shape[1], mask.shape[0]) == size:
        return mask
    scaled = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR)
    larger: Mask = np.asarray(scaled > 127)
    return larger


def _read(path: Path) -> Frame:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"), np.uint8)


def _mask(path: Path) -> Mask:
    with Image.open(path) as image:
        return brightness(image) > 127


def _jpeg(frame: Frame) -> bytes:
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "JPEG", quality=_JPEG_QUALITY)
    return out.getvalue()


def _png(mask: Mask) -> bytes:
    """A PNG that is a mask both for `mask_reading` and for a page: white on transparent black."""
    image = Image.fromarray(mask.astype(np.uint8), "P")
    image.putpalette(_WHITE_ON_NOTHING)
    out = io.BytesIO()
    image.save(out, "PNG", bits=1, transparency=0)
    return out.getvalue()


def _write_whole(data: bytes, target: Path) -> None:
    """Write a file whole, without waiting for the disk: it can be made again."""
    part = disk.part_beside(target)
    try:
        part.write_bytes(data)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
