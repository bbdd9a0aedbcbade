"""Reads the label pictures of a video."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_pipeline.sources import pictures
from data_pipeline.sources.frame_folders import files_of, read_picture, root_of
from data_pipeline.sources.listing import frames_in_order, number_of
from data_pipeline.sources.record import AnnotatedVideo, BadVideoError, Limits
from data_pipeline.storage import lake

_IGNORED = 255  # "do not care" in YouTube-VOS and DAVIS 2017

# Colours as one number, 0xRRGGBB.
_BLACK = 0
_IGNORED_COLOUR = 0xE0E0C0  # the place 255 in the palette of DAVIS
_MAX_COLOURS = 64  # more are no labels but edges that were smoothed, or a lossy file


def annotations(video: AnnotatedVideo, limits: Limits) -> list[tuple[int, NDArray[np.uint8]]]:
    """Read the label maps of a video that has annotations.

    Labels drawn in colours get numbers in the order in which the video shows them.

    Args:
        video: a record with `annotations`.
        limits: limits on the pictures.

    Returns:
        (place of the frame in the video, labels [h, w]: 0 for none, else an object) ascending. A
        label picture without a frame of its number is left out.

    Raises:
        BadVideoError: a picture is damaged, too large, or not a picture of labels.
        TransientError: the store does not answer.
    """
    place = {number_of(name): n for n, name in enumerate(frames_in_order(files_of(video.uri)))}
    root = root_of(video)
    labels, known = [], {_BLACK: 0, _IGNORED_COLOUR: 0}
    for name in frames_in_order(files_of(video.annotations)):
        if number_of(name) in place:
            uri = lake.join(video.annotations, name)
            data = read_picture(uri, root, limits.max_frame_bytes)
            labels.append((place[number_of(name)], _labels(data, limits, known)))
    return labels


def _labels(data: bytes, limits: Limits, known: dict[int, int]) -> NDArray[np.uint8]:
    """Read the labels of one picture; `known` maps colours to labels, and grows."""
    with pictures.opened(data, limits) as image:
        if image.mode in ("RGB", "RGBA"):
            return _of_colours(image, known)
        if image.mode not in ("1", "L", "P"):
            raise BadVideoError("has an annotation that is no picture of labels", image.mode)
        labels = np.array(image, dtype=np.uint8)
        objects = set(np.unique(labels).tolist()) - {0}
    # DAVIS 2016 draws its one object in white on grey pictures.
    if image.mode == "L" and objects == {_IGNORED}:
        return labels // _IGNORED
    labels[labels == _IGNORED] = 0
    return labels


def _of_colours(image: Image.Image, known: dict[int, int]) -> NDArray[np.uint8]:
    """Number the colours of a picture, one for each object; transparent pixels are background."""
    red, green, blue, *alpha = np.moveaxis(np.asarray(image, dtype=np.uint32), 2, 0)
    colours = red << 16 | green << 8 | blue
    for one in alpha:
        colours[one == 0] = _BLACK
    found = np.unique(colours)
    if len(found) > _MAX_COLOURS:
        raise BadVideoError(
            f"has an annotation of more than {_MAX_COLOURS} colours: no picture of labels",
            f"{len(found)} in {image.format}",
        )
    for colour in found.tolist():
        known.setdefault(colour, max(known.values()) + 1)
    if max(known.values()) >= _IGNORED:
        raise BadVideoError("has annotations of too many colours: no pictures of labels")
    numbers = np.array([known[colour] for colour in found.tolist()], np.uint8)
    labels: NDArray[np.uint8] = numbers[np.searchsorted(found, colours)]
    return labels
