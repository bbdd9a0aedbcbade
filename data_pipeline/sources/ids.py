"""Turns names of videos into ids that are safe in a tar, and distinct."""

import hashlib
from collections.abc import Iterable

from data_pipeline.cli.command import UserError, first_few
from data_pipeline.format import sample
from data_pipeline.sources.record import SourceVideo

_HASH = 8  # hex digits


def video_id(name: str) -> str:
    """Make the id of a video; one that had to be cut ends with a hash of the whole name."""
    if len(name) <= sample.ID_LENGTH:
        return sample.safe_id(name)
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_HASH]
    return f"{sample.safe_id(name)[: sample.ID_LENGTH - _HASH - 1]}-{digest}"


def in_order(videos: Iterable[SourceVideo]) -> tuple[SourceVideo, ...]:
    """Sort by id.

    Raises:
        UserError: two videos have one id.
    """
    known: dict[str, SourceVideo] = {}
    clashes = []
    for video in videos:
        other = known.setdefault(video.id, video)
        if other is not video:
            clashes.append(f"{other.uri} and {video.uri} both give the id {video.id!r}")
    if clashes:
        raise UserError(f"{first_few(clashes)}: rename one, or give only one of them")
    return tuple(known[name] for name in sorted(known))
