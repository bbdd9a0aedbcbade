"""A whole video through a model: decoding, the model and encoding overlap."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np

from data_pipeline.cli.command import UserError
from data_pipeline.cli.progress import progress
from mlops.config import InpaintConfig
from mlops.evaluation.flow import given as given_flow
from mlops.evaluation.truth import Truth
from mlops.inpainting.filling import Filled, How, filled
from mlops.inpainting.segments import Place, opened
from mlops.media import pictures, video
from mlops.media.encoders import Encoding
from mlops.media.encoding import PictureWriter, VideoWriter, Writer, print_not_kept
from mlops.media.holes import Edge, Extent, Hole
from mlops.media.mask_reading import Masks
from mlops.media.overlap import ahead, behind, give_large_blocks_back
from mlops.media.pasting import deep_result, deepened
from mlops.media.video import Timed, VideoFacts
from mlops.tracking.loaded_model import LoadedModel

# Frames that wait for the model, and for the encoder: fewer of large ones.
_AHEAD = 8
_AHEAD_BYTES = 2**26


def run(
    config: InpaintConfig,
    encoding: Encoding,
    facts: VideoFacts,
    masks: Masks,
    model: LoadedModel,
    truth: Truth | None,
    place: Place | None = None,
) -> tuple[Extent, float, dict[str, float]]:
    """Fill the whole video; returns how much was hole, seconds, and seconds by stage.

    Segments of a long video are kept at `place` until it is written, and taken from there.
    """
    give_large_blocks_back()
    source, filling = facts.path, config.filling
    edge = Edge(filling.invert_mask, filling.dilate, filling.blend_width)
    given = _paired(video.read_timed(source), edge.holes(masks.each), same=masks.same)
    began, extent = time.monotonic(), Extent()
    with ExitStack() as stack:
        segments = None
        if place and facts.frames > filling.segment_frames:
            segments = stack.enter_context(opened(place, filling.segment_frames))
        writers: list[Writer] = []
        if config.pictures:
            writers.append(stack.enter_context(PictureWriter(config.out, facts)))
        else:
            out = VideoWriter(config.out, facts, encoding, audio=filling.audio)
            writers.append(stack.enter_context(out))
        if config.compare:
            size = 2 * facts.width, facts.height
            beside = VideoWriter(config.compare, facts, encoding, size=size, alone=True)
            writers.append(stack.enter_context(beside))
        print_not_kept(writers[0])
        bar = stack.enter_context(progress(f"inpaint {source.name}", facts.frames, "frames"))
        limit = waiting(facts)
        encoded = stack.enter_context(behind(partial(_write, writers), limit))
        decoded = stack.enter_context(ahead(given, limit))
        how = How(
            native=filling.native,
            propagate=filling.propagate or bool(config.flows),
            flow=given_flow(config.flows, "") if config.flows else None,
            segment_frames=filling.segment_frames,
        )
        results = filled(model, iter(decoded), how, segments)
        stack.callback(results.close)
        for one in truth.compared(results) if truth else results:
            encoded.put(one)
            extent.add(one.hole.mask)
            bar.advance()
    if place:
        place.forget()
    seconds = time.monotonic() - began
    compared = {"compare": truth.busy_s} if truth else {}
    elsewhere = decoded.waited_s + encoded.waited_s + sum(compared.values())
    return (
        extent,
        seconds,
        {
            "decode": decoded.busy_s,
            "model": seconds - elsewhere,
            **compared,
            "encode": encoded.busy_s,
            "waiting for decode": decoded.waited_s,
            "waiting for encode": encoded.waited_s,
        },
    )


def waiting(facts: VideoFacts) -> int:
    """Frames that wait in a queue: a few small ones, one where a frame is huge."""
    shown = facts.width * facts.height * 3
    size = shown if facts.depth == 8 else 3 * shown  # deep ones come in 16 bits too
    return max(1, min(_AHEAD, _AHEAD_BYTES // size))


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


def _write(writers: Sequence[Writer], filled: Filled) -> None:
    """Encode the result, and the comparison where it is configured."""
    out, *beside = writers
    deep = deep_result(filled.source, filled.result, filled.hole)
    out.write(Timed(filled.result, filled.source.pts, deep))
    for writer in beside:
        before = pictures.tinted(filled.source.frame, filled.hole.mask)
        both = np.concatenate((before, filled.result), axis=1)
        deep_both = None if deep is None else np.concatenate((deepened(before), deep), axis=1)
        writer.write(Timed(both, filled.source.pts, deep_both))
