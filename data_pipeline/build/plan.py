"""Assigns videos to shards: a pure function of the records, decided before any work."""

from collections.abc import Sequence
from dataclasses import dataclass

from data_pipeline.format import draws
from data_pipeline.sources.record import SourceVideo

MEGABYTE = 10**6
# JPEG at quality 95 takes 0.22 to 0.48 bytes a pixel on real video; a tar member about 1 KB more.
_BYTES_PER_PIXEL = 0.35
_BYTES_PER_MEMBER = 1024


@dataclass(frozen=True, slots=True)
class Shard:
    """Contents of one tar of the data set."""

    name: str
    """`<split>-<00000>`; the file's name also carries its hash."""
    split: str
    """Split of all its videos."""
    videos: tuple[SourceVideo, ...]
    """Its videos in the order in which they are written."""


def plan_shards(
    videos: Sequence[SourceVideo], *, seed: int, megabytes: int, width: int, height: int
) -> tuple[Shard, ...]:
    """Shuffle the videos of each split and fill shards up to about `megabytes`.

    Args:
        videos: any order; the plan depends on the ids only.
        seed: of the shuffle, so that readers of whole shards see mixed videos.
        megabytes: size that a shard has when it is full, estimated; one video may exceed it.
        width: of the frames, pixels.
        height: of the frames, pixels.
    """
    bytes_per_frame = _BYTES_PER_PIXEL * width * height + _BYTES_PER_MEMBER
    shards: list[Shard] = []
    for split in sorted({video.split for video in videos}):
        members = sorted((v for v in videos if v.split == split), key=lambda video: video.id)
        order = draws.permutation(seed, f"plan:{split}", 0, len(members))
        groups: list[list[SourceVideo]] = []
        room = 0.0
        for index in order:
            size = bytes_per_frame * members[index].frames
            if not groups or size > room:
                groups.append([])
                room = float(megabytes * MEGABYTE)
            groups[-1].append(members[index])
            room -= size
        shards += [
            Shard(f"{split}-{number:05d}", split, tuple(group))
            for number, group in enumerate(groups)
        ]
    return tuple(shards)
