"""Fills holes frame by frame, at any size, in bounded memory: the model's size and back, pasted.

Legend: `H`, `W` pixels; frames are uint8 RGB [H,W,3]; masks are uint8 [H,W], nonzero = hole.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.fills.flow import FlowSource
from mlops.media.holes import Hole, shrink
from mlops.media.pasting import pasted, resized
from mlops.media.video import Timed
from mlops.tracking.loaded_model import LoadedModel

Frame = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Filled:
    """One frame of the result, with what it was made from."""

    source: Timed
    hole: Hole
    result: Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How the model is used."""

    native: bool
    propagate: bool
    flow: FlowSource | None = None


def inpainted(
    model: LoadedModel,
    pairs: Iterable[tuple[Frame, Frame]],
    *,
    native: bool = False,
    propagate: bool = False,
) -> Iterator[Frame]:
    """Fill the holes of a video, frame by frame, at any size, in bounded memory.

    Args:
        model: works at its own size when it says one.
        pairs: frame uint8 [H,W,3] and mask uint8 [H,W], nonzero = hole.
        native: at the frames' size, on the part around the holes; of a model that `crops`.
        propagate: carry known pixels along optical flow first; of a model that `propagates`.

    Yields:
        uint8 [H,W,3]: the frame, with the model's answer where the mask is nonzero.
    """
    given = ((Timed(frame, None), Hole(mask, None)) for frame, mask in pairs)
    how = How(native=native, propagate=propagate)
    return (one.result for one in filled(model, given, how))


def filled(model: LoadedModel, given: Iterable[tuple[Timed, Hole]], how: How) -> Iterator[Filled]:
    """Fill frame after frame, as `how` says; a result comes when the model has looked ahead."""
    # The model runs behind by as many frames as it looks ahead; only those are kept.
    waiting: deque[tuple[Timed, Hole]] = deque()

    def at_its_size() -> Iterator[tuple[Frame, Frame]]:
        for timed, hole in given:
            waiting.append((timed, hole))
            whole = timed.frame.shape[1], timed.frame.shape[0]
            size = whole if how.native or model.size is None else model.size
            yield resized(timed.frame, size), shrink(hole.mask, size)

    crop = model.size if how.native else None
    answers = model.stream(at_its_size(), crop, propagate=how.propagate, flow=how.flow)
    for answer in answers:
        timed, hole = waiting.popleft()
        whole = resized(answer, (timed.frame.shape[1], timed.frame.shape[0]))
        yield Filled(timed, hole, pasted(timed.frame, whole, hole))
    assert not waiting, "the model answered fewer frames than it was given"
