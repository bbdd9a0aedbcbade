"""Door: fill the hole of a video with a registered version.

`python mlops/inpaint.py VIDEO MASK OUT --model models:/sttn@champion --tracking-uri URI`

Frames go through one at a time, so the length of the video does not matter; decoding, the model and
encoding overlap. The model works at the size it was trained at; its answer is scaled back and
pasted into the hole, so that every other pixel is untouched before encoding. The times of the
frames, their rotation, what their colours mean and every audio track are kept.

As a library, frame by frame: `inpainted(model, pairs)` of this module; a whole clip:
`mlflow.pyfunc.load_model("models:/sttn@champion").predict({"frames": …, "masks": …})`.
"""

import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_pipeline import lake
from data_pipeline.door import UserError, parse, print_json, say
from data_pipeline.progress import progress
from data_pipeline.sources.video_files import local_file
from mlops import pictures, registry, tracking, video
from mlops.config import InpaintConfig
from mlops.door import run_door
from mlops.encoding import Encoding, PictureWriter, VideoWriter, Writer, refuse_sound
from mlops.holes import Edge, Hole, Masks, masks_for, shrink
from mlops.model import LoadedModel, load
from mlops.overlap import Ahead, Behind
from mlops.video import Timed, VideoFacts

_AHEAD = 8  # frames that wait for the model, and for the encoder

Frame = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Filled:
    """One frame of the result, with what it was made from."""

    source: Timed
    hole: Hole
    result: Frame


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(InpaintConfig, argv, prog="inpaint", description=str(__doc__))
    uri = tracking.absolute_uri(config.tracking_uri)
    with ExitStack() as stack:
        source = _source(config.video, stack)
        encoding = Encoding(codec=config.codec, crf=config.crf, lossless=config.lossless)
        for out in filter(None, (config.out, config.compare)):
            _check_out(out, source)
            if out.suffix or out is config.compare:
                encoding.check(out.suffix.lower())
        facts = video.facts_of(source, Fraction(config.fps).limit_denominator(1001))
        if facts.audio and config.audio and not config.pictures:
            refuse_sound(facts.audio, config.out.suffix.lower())
        masks = masks_for(config.mask, facts)
        version = registry.resolve(uri, config.model)
        model = load(uri, version)
        if config.native and not (model.crops and model.size):
            raise UserError(f"{version.uri} cannot work on parts of frames: leave --native out")
        stack.enter_context(_terminated())
        frames, seconds, stages = _run(config, encoding, facts, masks, model)
    say(
        f"{config.out}: {frames} frames at {facts.fps} fps, filled by {version.uri} "
        f"in {seconds:.1f} s ({frames / seconds:.1f} frames/s)"
    )
    say("; ".join(f"{stage} {took:.1f} s" for stage, took in stages.items()))
    if facts.audio:
        kept = "kept" if config.audio and not config.pictures else "left out"
        tracks = "1 audio track" if len(facts.audio) == 1 else f"{len(facts.audio)} audio tracks"
        say(f"{tracks} {kept}")
    if config.json:
        what = {"out": str(config.out.absolute()), "model": version.uri, "fps": str(facts.fps)}
        print_json({**what, "frames": frames, "seconds": seconds, "stages": stages})
    return 0


def _run(
    config: InpaintConfig, encoding: Encoding, facts: VideoFacts, masks: Masks, model: LoadedModel
) -> tuple[int, float, dict[str, float]]:
    """Fill the whole video; returns the number of frames, seconds, and seconds by stage."""
    source = facts.path
    edge = Edge(config.invert_mask, config.dilate, config.feather)
    given = _paired(video.read_timed(source), edge.holes(masks.each), same=masks.same)
    began, frames = time.monotonic(), 0
    with ExitStack() as stack:
        writers: list[Writer] = []
        if config.pictures:
            writers.append(stack.enter_context(PictureWriter(config.out)))
        else:
            out = VideoWriter(config.out, facts, encoding, audio=config.audio)
            writers.append(stack.enter_context(out))
        if config.compare:
            size = 2 * facts.width, facts.height
            beside = VideoWriter(config.compare, facts, encoding, size=size, audio=False)
            writers.append(stack.enter_context(beside))
        bar = stack.enter_context(progress(f"inpaint {source.name}", facts.frames, "frames"))
        behind: Behind[_Filled] = Behind(partial(_write, writers), _AHEAD)
        stack.enter_context(behind)
        ahead = stack.enter_context(Ahead(given, _AHEAD))
        for filled in _filled(model, iter(ahead), native=config.native):
            behind.put(filled)
            frames += 1
            bar.advance()
    seconds = time.monotonic() - began
    waited = ahead.waited_s + behind.waited_s
    return (
        frames,
        seconds,
        {
            "decode": ahead.busy_s,
            "model": seconds - waited,
            "encode": behind.busy_s,
            "waiting for decode": ahead.waited_s,
            "waiting for encode": behind.waited_s,
        },
    )


def inpainted(
    model: LoadedModel, pairs: Iterable[tuple[Frame, Frame]], *, native: bool = False
) -> Iterator[Frame]:
    """Fill the holes of a video, frame by frame, at any size, in bounded memory.

    Args:
        model: works at its own size when it says one.
        pairs: frame uint8 [H,W,3] and mask uint8 [H,W], nonzero = hole.
        native: at the frames' size, on the part around the holes; of a model that `crops`.

    Yields:
        uint8 [H,W,3]: the frame, with the model's answer where the mask is nonzero.
    """
    given = ((Timed(frame, None), Hole(mask, None)) for frame, mask in pairs)
    return (filled.result for filled in _filled(model, given, native=native))


def _filled(
    model: LoadedModel, given: Iterable[tuple[Timed, Hole]], *, native: bool
) -> Iterator[_Filled]:
    # The model runs behind by as many frames as it looks ahead; only those are kept.
    waiting: deque[tuple[Timed, Hole]] = deque()

    def at_its_size() -> Iterator[tuple[Frame, Frame]]:
        for timed, hole in given:
            waiting.append((timed, hole))
            whole = timed.frame.shape[1], timed.frame.shape[0]
            size = whole if native or model.size is None else model.size
            yield _resized(timed.frame, size), shrink(hole.mask, size)

    answers = model.stream(at_its_size(), model.size) if native else model.stream(at_its_size())
    for answer in answers:
        timed, hole = waiting.popleft()
        whole = _resized(answer, (timed.frame.shape[1], timed.frame.shape[0]))
        yield _Filled(timed, hole, _pasted(timed.frame, whole, hole))
    assert not waiting, "the model answered fewer frames than it was given"


def _pasted(frame: Frame, answer: Frame, hole: Hole) -> Frame:
    """The answer in the hole, a mixture over its soft edge, the frame's own pixels elsewhere."""
    inside = hole.mask[..., np.newaxis] != 0
    if hole.weight is None:
        return np.where(inside, answer, frame)
    weight = hole.weight[..., np.newaxis]
    mixed = np.round(weight * answer + (1 - weight) * frame).astype(np.uint8)
    return np.where(inside, mixed, frame)


def _resized(frame: Frame, size: tuple[int, int]) -> Frame:
    """The frame at another size (width, height), bicubic; the same array at the same size."""
    if (frame.shape[1], frame.shape[0]) == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))


def _paired(
    frames: Iterator[Timed], holes: Iterator[Hole], *, same: bool
) -> Iterator[tuple[Timed, Hole]]:
    """Frames with their holes.

    Raises:
        UserError: one of the two ends before the other (a damaged file).
    """
    if same:
        yield from zip(frames, holes, strict=False)
        return
    try:
        yield from zip(frames, holes, strict=True)
    except ValueError as error:
        raise UserError(f"video and masks do not decode to equally many frames: {error}") from error


def _write(writers: Sequence[Writer], filled: _Filled) -> None:
    """Encode the result, and beside it what it was made from where that was asked for."""
    out, *beside = writers
    out.write(Timed(filled.result, filled.source.pts))
    for writer in beside:
        before = pictures.tinted(filled.source.frame, filled.hole.mask)
        writer.write(Timed(np.concatenate((before, filled.result), axis=1), filled.source.pts))


def _source(name: str, stack: ExitStack) -> Path:
    """The video as a local path; what comes from a store is there until the end."""
    if lake.is_s3(name):
        if not lake.exists(name):
            raise UserError(f"{name} is not there")
        return stack.enter_context(lake.local_copy(name))
    return Path(name) if Path(name).is_dir() else local_file(name)


def _check_out(out: Path, source: Path) -> None:
    if not out.absolute().parent.is_dir():
        raise UserError(f"{out}: its folder is not there; make it first")
    if out.exists() and out.samefile(source):
        raise UserError(f"OUT is the input {source}: give another name")
    if out.is_dir():
        raise UserError(f"OUT {out} is a folder that is there already: give another name")


@contextmanager
def _terminated() -> Iterator[None]:
    """A request to end is taken as Ctrl-C is: what is half written goes away."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
