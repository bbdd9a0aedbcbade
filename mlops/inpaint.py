"""Door: fill the hole of a video with a registered version.

`python mlops/inpaint.py VIDEO MASK OUT --model models:/sttn@champion --tracking-uri URI`

Frames go through one at a time, so the length of the video does not matter. The model works at the
size it was trained at; its answer is scaled back and pasted into the hole, so that every other
pixel is untouched before encoding. Fps and number of frames are kept; audio is not kept yet.
"""

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_pipeline.door import UserError, parse, print_json, say
from data_pipeline.progress import progress
from data_pipeline.sources.video_files import local_file
from mlops import registry, tracking, video
from mlops.config import InpaintConfig
from mlops.door import run_door
from mlops.holes import Masks, masks_for, shrink
from mlops.model import LoadedModel, load
from mlops.video import H264Writer

Frame = NDArray[np.uint8]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(InpaintConfig, argv, prog="inpaint", description=str(__doc__))
    uri = tracking.absolute_uri(config.tracking_uri)
    source = local_file(config.video)
    _check_out(config.out, source)
    facts = video.facts_of(source)
    masks = masks_for(config.mask, facts)
    version = registry.resolve(uri, config.model)
    model = load(uri, version)
    began = time.monotonic()
    pairs = _paired(video.read(source), masks)
    frames = 0
    with (
        H264Writer(config.out, facts, crf=config.crf) as writer,
        progress(f"inpaint {source.name}", facts.frames, "frames") as bar,
    ):
        for frame in inpainted(model, pairs):
            writer.write(frame)
            frames += 1
            bar.advance()
    seconds = time.monotonic() - began
    say(
        f"{config.out}: {frames} frames at {facts.fps} fps, filled by {version.uri} "
        f"in {seconds:.1f} s ({frames / seconds:.1f} frames/s)"
    )
    if facts.width % 2 or facts.height % 2:
        say("one column or row was added: H.264 in 4:2:0 needs even sizes")
    if config.json:
        what = {"out": str(config.out.absolute()), "model": version.uri, "seconds": seconds}
        print_json({**what, "frames": frames, "fps": str(facts.fps)})
    return 0


def inpainted(model: LoadedModel, pairs: Iterable[tuple[Frame, Frame]]) -> Iterator[Frame]:
    """Fill the holes of a video, frame by frame, at any size.

    Args:
        model: works at its own size when it says one.
        pairs: frame uint8 [H,W,3] and mask uint8 [H,W], nonzero = hole.

    Yields:
        uint8 [H,W,3]: the frame, with the model's answer where the mask is nonzero.
    """
    # The model runs behind by as many frames as it looks ahead; only those are kept.
    waiting: deque[tuple[Frame, Frame]] = deque()

    def at_its_size() -> Iterator[tuple[Frame, Frame]]:
        for frame, mask in pairs:
            waiting.append((frame, mask))
            size = model.size or (frame.shape[1], frame.shape[0])
            yield _resized(frame, size), shrink(mask, size)

    for filled in model.stream(at_its_size()):
        frame, mask = waiting.popleft()
        whole = _resized(filled, (frame.shape[1], frame.shape[0]))
        yield np.where(mask[..., np.newaxis] != 0, whole, frame)
    assert not waiting, "the model answered fewer frames than it was given"


def _resized(frame: Frame, size: tuple[int, int]) -> Frame:
    """The frame at another size (width, height), bicubic; the same array at the same size."""
    if (frame.shape[1], frame.shape[0]) == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))


def _paired(frames: Iterator[Frame], masks: Masks) -> Iterator[tuple[Frame, Frame]]:
    """Frames with their masks.

    Raises:
        UserError: one of the two ends before the other (a damaged file).
    """
    if masks.same:
        yield from zip(frames, masks.each, strict=False)
        return
    try:
        yield from zip(frames, masks.each, strict=True)
    except ValueError as error:
        raise UserError(f"video and masks do not decode to equally many frames: {error}") from error


def _check_out(out: Path, source: Path) -> None:
    if not out.absolute().parent.is_dir():
        raise UserError(f"{out}: its folder is not there; make it first")
    if out.exists() and out.samefile(source):
        raise UserError(f"OUT is the input {source}: give another name")


if __name__ == "__main__":
    sys.exit(main())
