"""Fills holes frame by frame, at any size, in bounded memory: the model's size and back, pasted.

A long video is worked in segments: the model begins anew at fixed frames, with as much of the video
before and behind a segment as it looks at, so that the frames are those of the video in one piece.
What a segment is does not depend on where a run was interrupted; neither does the result, then.

Legend: `H`, `W` pixels; frames are uint8 RGB [H,W,3]; masks are uint8 [H,W], nonzero = hole.
"""

import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import IO, final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.storage import disk
from mlops.config import SEGMENT_FRAMES
from mlops.fills.flow import Flow, FlowSource
from mlops.inpainting.segments import Segments
from mlops.media.holes import Hole, shrink
from mlops.media.pasting import pasted, resized
from mlops.media.video import Timed
from mlops.tracking.loaded_model import FOREIGN_WINDOW, LoadedModel

Frame = NDArray[np.uint8]
Pair = tuple[Frame, Frame]

CONTEXT = 2 * FOREIGN_WINDOW
"""Frames before and behind a segment that the model is given too. STTN looks at 50 on each side (5
of a window, references up to 45 from it), and where they are propagated at 20 more."""


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
    segment_frames: int = SEGMENT_FRAMES


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


def filled(
    model: LoadedModel,
    given: Iterable[tuple[Timed, Hole]],
    how: How,
    segments: Segments | None = None,
) -> Generator[Filled]:
    """Fill frame after frame, as `how` says; a result comes when the model has looked ahead.

    Args:
        model: of one version.
        given: frames with their holes.
        how: the model is used.
        segments: those that are filled already are taken from there, others are kept there; None =
            nothing is kept.
    """
    with _temporary_file() as context:
        frames = _Frames(iter(given), None if how.native else model.size, context)
        for one, answer in _answered(model, frames, how, segments):
            frame = one.source.frame
            whole = resized(answer, (frame.shape[1], frame.shape[0]))
            yield Filled(one.source, one.hole, pasted(frame, whole, one.hole))


@dataclass(frozen=True, slots=True)
class _Read:
    """A frame that was read, and what the model is given of it."""

    source: Timed
    hole: Hole
    small: Pair


def _answered(
    model: LoadedModel, frames: "_Frames", how: How, segments: Segments | None
) -> Iterator[tuple[_Read, Frame]]:
    """Frames with the model's answers, or with those that are kept."""
    for number in count():
        first = number * how.segment_frames
        if first and not frames.more():
            return
        if segments and number < segments.count:
            for change in segments.changes(number, frames.shape()):
                one = frames.next(first, how.segment_frames)
                yield one, one.small[0] + change
            continue
        with segments.writing(number) if segments else nullcontext() as keep:
            for answer in _of_segment(model, frames, how, first):
                one = frames.next(first, how.segment_frames)
                if keep:
                    keep(answer - one.small[0])
                yield one, answer
        whole = frames.done == first + how.segment_frames
        assert whole or not frames.more(), "the model answered fewer frames than it was given"


def _of_segment(model: LoadedModel, frames: "_Frames", how: How, first: int) -> Iterator[Frame]:
    """Answers of the model for the frames of a segment, from its first on."""
    before = frames.before
    pairs = chain(frames.context(), frames.ahead(how.segment_frames + CONTEXT))
    flow = _beginning_at(first - before, how.flow) if how.flow else None
    crop = model.size if how.native else None
    answers = model.stream(pairs, crop, propagate=how.propagate, flow=flow)
    return islice(answers, before, before + how.segment_frames)


def _beginning_at(first: int, source: FlowSource) -> FlowSource:
    """The flow of a stretch of a video whose frames count from 0."""

    def between(number: int, one: Frame, other: Frame, /) -> tuple[Flow, Flow]:
        return source(first + number, one, other)

    return between


@final
class _Frames:
    """A video on its way to the model and back; only what the model looks ahead is held.

    Args:
        given: frames with their holes.
        size: width and height that the model is given; None = that of the frames.
        file: for the frames before a segment; at full size they are many bytes.
    """

    def __init__(
        self, given: Iterator[tuple[Timed, Hole]], size: tuple[int, int] | None, file: IO[bytes]
    ) -> None:
        self._given, self._size, self._file = given, size, file
        self._waiting: deque[_Read] = deque()  # read, and not answered
        self.done = 0
        """Frames that were answered."""
        self.before = 0
        """Frames of the context that the model is given before a segment."""

    def more(self) -> bool:
        """Return True when not all frames are answered."""
        return bool(self._waiting) or self._read() is not None

    def shape(self) -> tuple[int, ...]:
        """Of the next frame, as the model is given it."""
        assert self.more()
        return self._waiting[0].small[0].shape

    def next(self, first: int, frames: int) -> _Read:
        """The next frame that is answered, of a segment that begins at `first`."""
        found = self.more()
        assert found, "there are more answers than frames"
        one = self._waiting.popleft()
        if self.done >= first + frames - CONTEXT:
            self._keep(one.small, begin=self.done == first + frames - CONTEXT)
        self.done += 1
        return one

    def ahead(self, limit: int) -> Iterator[Pair]:
        """From the next frame on, as many as there are and `limit` allows."""
        waiting = deque(one.small for one in self._waiting)
        left = limit - len(waiting)
        while waiting:
            yield waiting.popleft()
        for _ in range(left):
            one = self._read()
            if one is None:
                return
            yield one.small

    def context(self) -> Iterator[Pair]:
        """The frames before a segment."""
        self._file.seek(0)
        for _ in range(self.before):
            yield np.load(self._file), np.load(self._file)

    def _read(self) -> _Read | None:
        found = next(self._given, None)
        if found is None:
            return None
        timed, hole = found
        whole = timed.frame.shape[1], timed.frame.shape[0]
        size = self._size or whole
        one = _Read(timed, hole, (resized(timed.frame, size), shrink(hole.mask, size)))
        self._waiting.append(one)
        return one

    def _keep(self, pair: Pair, *, begin: bool) -> None:
        """Keep a frame for the next segment, whose context this one `begin`s."""
        if begin:
            self._file.seek(0)
            self.before = 0
        with disk.writing(tempfile.gettempdir()):
            for part in pair:
                np.save(self._file, part)
        self.before += 1


def _temporary_file() -> IO[bytes]:
    with disk.writing(tempfile.gettempdir()):
        return tempfile.TemporaryFile()
