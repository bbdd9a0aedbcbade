"""The frames and holes that a protocol judges on: which, and their pixels.

Legend: `T` frames, `H`, `W` pixels; frames uint8 RGB [T,H,W,3]; masks uint8 [T,H,W], 1 = hole.
"""

import hashlib
import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_pipeline.cli.command import UserError
from data_pipeline.read.clips import Clip, evaluation_clips
from data_pipeline.read.reader import DataSet, Video, read_clip
from data_pipeline.storage import lake
from mlops.evaluation.protocol import Protocol

GIVEN = -1  # in place of the number of a data set's mask
_GREY = np.uint8(128)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))

Frames = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Inputs:
    """One clip that subjects are scored on: each is given `hidden` and the masks."""

    clip: Clip
    video: Video
    variant: int
    """Number of the data set's mask, or `GIVEN`."""
    mask_kind: str
    frames: Frames
    masks: Frames

    def hidden(self) -> Frames:
        """The frames with mid grey in their holes: all that a subject may see of them."""
        return np.where(self.masks[..., np.newaxis] != 0, _GREY, self.frames)

    def sha256(self) -> str:
        """Over the pixels of frames and holes."""
        return hashlib.sha256(self.frames.tobytes() + self.masks.tobytes()).hexdigest()


def fixed_clips(data_set: DataSet, protocol: Protocol) -> tuple[Clip, ...]:
    """The clips of a protocol on a data set, always the same.

    Raises:
        UserError: the data set does not fit the protocol.
    """
    size = data_set.width, data_set.height
    wanted = protocol.width or size[0], protocol.height or size[1]
    if size != wanted:
        raise UserError(
            f"protocol {protocol.name!r} is for {wanted[0]}x{wanted[1]} pixels, data set "
            f"{data_set.uri} has {size[0]}x{size[1]}: build one of that size"
        )
    videos = data_set.videos(protocol.split)
    if not protocol.clips_per_video:
        return tuple(_whole(number, video.frames) for number, video in enumerate(videos))
    return evaluation_clips(
        tuple(video.frames for video in videos),
        tuple(len(video.mask_kinds) for video in videos),
        protocol.clips_per_video,
        protocol.frames_per_clip,
    )


def read(data_set: DataSet, clip: Clip, protocol: Protocol) -> Inputs:
    """Read one of the fixed clips.

    Raises:
        UserError: masks were given from elsewhere, and this video's are missing or of another size.
    """
    video = data_set.videos(protocol.split)[clip.video]
    if protocol.masks:
        frames = data_set.read_frames(video, clip.frames)
        size = data_set.width, data_set.height
        masks = np.stack([_given(protocol.masks, video.id, frame, size) for frame in clip.frames])
        variant, kind = GIVEN, "given"
    else:
        frames, masks = read_clip(data_set, video, clip)
        variant, kind = clip.variant, video.mask_kinds[clip.variant]
    return Inputs(clip, video, variant, kind, frames, _grown(masks, protocol.dilation))


def _whole(number: int, frames: int) -> Clip:
    return Clip(
        position=number,
        video=number,
        frames=tuple(range(frames)),
        consecutive=True,
        flip=False,
        variant=0,
    )


def _given(folder: str, video: str, frame: int, size: tuple[int, int]) -> Frames:
    """One mask of a folder, resized without new values as the field's scripts do."""
    uri = lake.join(folder, video, f"{frame:05d}.png")
    if not lake.exists(uri):
        raise UserError(f"no mask {uri}: --masks wants <video>/00000.png … for every frame")
    with Image.open(io.BytesIO(lake.read_bytes(uri))) as image:
        values = np.asarray(image.convert("RGB").resize(size, Image.Resampling.NEAREST))
    hole: Frames = np.any(values != 0, axis=2).astype(np.uint8)
    return hole


def _grown(masks: Frames, pixels: int) -> Frames:
    if not pixels:
        return masks
    return np.stack([cv2.dilate(mask, _CROSS, iterations=pixels) for mask in masks])
