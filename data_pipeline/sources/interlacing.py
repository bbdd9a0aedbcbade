"""Deinterlaces frames, one for one, with ffmpeg's bwdif."""

from collections.abc import Iterator
from typing import Any

import av
import av.filter

from data_pipeline.sources.record import BadVideoError


def progressive(decoded: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Deinterlace, from the first frame that says it is interlaced, the frames that say so.

    Raises:
        BadVideoError: frames of this kind cannot be deinterlaced.
    """
    graph: av.filter.Graph | None = None
    kind: tuple[Any, ...] = ()
    for frame in decoded:
        now = (frame.width, frame.height, frame.format.name)
        if graph is not None and now != kind:
            yield from _drained(graph)
            graph = None
        if graph is None and frame.interlaced_frame:
            graph, kind = _deinterlacer(frame), now
        if graph is None:
            yield frame
        else:
            graph.vpush(frame)
            yield from _pulled(graph)
    if graph is not None:
        yield from _drained(graph)


def _deinterlacer(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1
    try:
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    except (av.FFmpegError, OSError, ValueError) as error:
        raise BadVideoError("is interlaced and cannot be deinterlaced", str(error)) from error
    return graph


def _drained(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    graph.vpush(None)
    yield from _pulled(graph)


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
