"""The label pictures of a video."""

import numpy as np
from numpy.typing import NDArray

from data_pipeline import lake
from data_pipeline.sources import pictures
from data_pipeline.sources.frame_folders import files_of, read_picture, root_of
from data_pipeline.sources.listing import frames_in_order, number_of
from data_pipeline.sources.record import Annotated, BadVideoError, Limits

_IGNORED = 255  # "do not care" in YouTube-VOS and DAVIS 2017


def annotations(video: Annotated, limits: Limits) -> list[tuple[int, NDArray[np.uint8]]]:
    """The label maps of a video that has annotations.

    Args:
        video: a record with `annotations`.
        limits: what the pictures may cost.

    Returns:
        (place of the frame in the video, labels [h, w]: 0 for none, else an object) ascending. A
        label picture without a frame of its number is left out.

    Raises:
        BadVideoError: a picture is damaged, too large, or not a picture of labels.
        TransientError: the store does not answer.
    """
    place = {number_of(name): n for n, name in enumerate(frames_in_order(files_of(video.uri)))}
    root = root_of(video)
    labels = []
    for name in frames_in_order(files_of(video.annotations)):
        if number_of(name) in place:
            uri = lake.join(video.annotations, name)
            data = read_picture(uri, root, limits.max_frame_bytes)
            labels.append((place[number_of(name)], _labels(data, limits)))
    return labels


def _labels(data: bytes, limits: Limits) -> NDArray[np.uint8]:
    with pictures.opened(data, limits) as image:
        if image.mode not in ("1", "L", "P"):
            raise BadVideoError("has an annotation that is no picture of labels", image.mode)
        labels = np.array(image, dtype=np.uint8)
        objects = set(np.unique(labels).tolist()) - {0}
    # DAVIS 2016 draws its one object in white on grey pictures.
    if image.mode == "L" and objects == {_IGNORED}:
        return labels // _IGNORED
    labels[labels == _IGNORED] = 0
    return labels
