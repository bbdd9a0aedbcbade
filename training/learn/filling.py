"""Clips as a generator gets them: with a fill, holes are filled before.

Neighbours are filled from the frames around them, which are read for that; a distant reference is
filled from itself alone, in training as in use. Nothing of this is stored beside the shards: what
propagation finds depends on the mask, of which a video has many. A clip of 432x240 takes 1.5 s of
one core (`tests/benchmarks/fills.py`), a tenth of its training step on a CPU; a GPU would wait.

Legend: `T` frames of a clip, `H`, `W` pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.read.clips import Clip
from data_pipeline.read.reader import DataSet, Video, read_clip
from mlops.evaluation.flow import given
from mlops.fills.flow import Flow, FlowSource, Frame
from mlops.fills.propagation import Filled, Propagation, diffused, propagated
from training.config.train_config import TrainConfig
from training.learn.batch import Pixels

Frames = NDArray[np.uint8]


Read = Callable[[DataSet, Video, Clip], Pixels]


def reading(config: TrainConfig) -> Read:
    """The function that reads the clips of a run."""
    cv2.setNumThreads(1)  # clips are read in several threads beside one another
    shape = config.generator
    if shape.fill != "propagate":
        return lambda data_set, video, clip: fill_all(*read_clip(data_set, video, clip), shape.fill)
    return lambda data_set, video, clip: _read_propagated(
        data_set, video, clip, config.clip_reach, config.flows
    )


def read_unfilled(data_set: DataSet, video: Video, clip: Clip) -> Pixels:
    """Read a clip for a generator without a fill."""
    return Pixels(*read_clip(data_set, video, clip))


def _read_propagated(
    data_set: DataSet, video: Video, clip: Clip, reach: int, flows: str | None
) -> Pixels:
    """Read neighbours with the frames around them, and references."""
    count = len(clip.frames) - clip.references
    neighbours, references = clip.frames[:count], clip.frames[count:]
    first = max(0, neighbours[0] - reach)
    around = range(first, min(video.frames, neighbours[-1] + reach + 1))
    frames, masks = read_clip(data_set, video, replace(clip, frames=(*around, *references)))
    source = given(flows, video.id) if flows else None
    if source is not None and clip.flip:
        source = mirrored(source)
    stretch = Propagation(source, first=first, reach=reach)
    for frame, mask in zip(frames[: len(around)], masks[: len(around)], strict=True):
        stretch.add(frame, mask)
    distant = zip(frames[len(around) :], masks[len(around) :], strict=True)
    filled = [*(stretch.filled(one - first) for one in neighbours), *diffused(distant)]
    wanted = [*(one - first for one in neighbours), *range(len(around), len(frames))]
    return _pixels(frames[wanted], masks[wanted], filled)


def mirrored(source: FlowSource) -> FlowSource:
    """The flow of frames that are mirrored left to right, from a source that knows the others."""

    def between(number: int, first: Frame, second: Frame, /) -> tuple[Flow, Flow]:
        forward, backward = (
            np.ascontiguousarray(flow[:, ::-1] * np.array((-1, 1), np.float32))
            for flow in source(number, first[:, ::-1], second[:, ::-1])
        )
        return forward, backward

    return between


def fill_all(frames: Frames, masks: Frames, fill: str) -> Pixels:
    """A clip that is at hand, filled as a generator wants it.

    Args:
        frames: uint8 [T,H,W,3]; for "propagate" each is the neighbour of the one before.
        masks: uint8 [T,H,W], nonzero = hole.
        fill: of the generator.
    """
    if fill == "none":
        return Pixels(frames, masks)
    filled = diffused if fill == "diffuse" else propagated
    return _pixels(frames, masks, list(filled(zip(frames, masks, strict=True))))


def _pixels(frames: Frames, masks: Frames, filled: Sequence[Filled]) -> Pixels:
    return Pixels(
        frames,
        masks,
        np.stack([one.frame for one in filled]),
        np.stack([one.belief for one in filled]),
        np.stack([one.alone for one in filled]),
    )
