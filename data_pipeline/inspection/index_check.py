"""Compares the catalogue with the indexes, and both with the members of the tars.

Files can match their manifest and still disagree; readers trust what the index says.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa

from data_pipeline.format import sample
from data_pipeline.format.catalogue import (
    CATALOGUE,
    OK,
    VideoRow,
    decode_catalogue,
    decode_table,
    index_path,
    shard_name,
)
from data_pipeline.format.manifest import Manifest
from data_pipeline.inspection.tar_walk import Member


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a data set, as far as they match the manifest."""

    rows: Mapping[str, Sequence[VideoRow]]
    """Path of a tar -> its videos, in the order of the catalogue."""
    index: Mapping[str, pa.Table]
    """Path of a tar -> its frames; only where its videos are known too."""
    differences: Sequence[str]
    """Differences between the tables, and to the manifest, one line each."""


def read_tables(made: Manifest, sound: Mapping[str, bytes]) -> Tables:
    """Read the tables and compare them.

    Args:
        made: manifest of the data set.
        sound: path -> content of every small file that matches the manifest.
    """
    if CATALOGUE not in sound:
        known = CATALOGUE in made.payload
        return Tables({}, {}, () if known else (f"{CATALOGUE}: the manifest names none",))
    rows: dict[str, list[VideoRow]] = {n: [] for n in made.payload if n.endswith(".tar")}
    index: dict[str, pa.Table] = {}
    lines = []
    for row in decode_catalogue(sound[CATALOGUE]):
        if row.status == OK and row.shard not in rows:
            lines.append(f"{CATALOGUE}: video {row.id} is in {row.shard!r}, which is not there")
        elif row.status == OK:
            rows[row.shard].append(row)
    for tar, videos in sorted(rows.items()):
        path = index_path(shard_name(tar))
        if path not in made.payload:
            lines.append(f"{path}: the manifest names no index of {tar}")
        elif path in sound:
            index[tar] = decode_table(sound[path])
            lines += [f"{path}: {line}" for line in _of_index(tar, videos, index[tar])]
    return Tables(rows, index, lines)


def _of_index(tar: str, rows: Sequence[VideoRow], table: pa.Table) -> Iterator[str]:
    """Compare the index of a tar with the catalogue."""
    for name in table["shard"].unique().to_pylist():
        if name != tar:
            yield f"points into {name}, not into {tar}"
    videos, frames = table["video"].to_pylist(), table["frame"].to_pylist()
    count, size = Counter(videos), Counter[str]()
    for video, number in zip(videos, table["size"].to_pylist(), strict=True):
        size[video] += number
    wanted_frames = Counter({row.id: row.frames for row in rows})
    wanted_size = Counter({row.id: row.frame_bytes for row in rows})
    for video in sorted(count.keys() | wanted_frames.keys()):
        there, wanted = (count[video], size[video]), (wanted_frames[video], wanted_size[video])
        if there != wanted:
            yield (
                f"video {video} has {there[0]} frames of {there[1]} bytes, the catalogue says "
                f"{wanted[0]} of {wanted[1]}"
            )
    order = [(row.id, frame) for row in rows for frame in range(row.frames)]
    if count == wanted_frames and list(zip(videos, frames, strict=True)) != order:
        yield "its frames are not in the order of the catalogue"


def member_differences(tables: Tables, tar: str, found: Sequence[Member]) -> Iterator[str]:
    """Compare the members of a tar with its index and with the catalogue.

    Args:
        tables: of the data set.
        tar: path of the tar; nothing is compared where its index or the catalogue is unknown.
        found: the members of the tar.
    """
    if tar not in tables.index:
        return
    members = {member.name: member for member in found}
    for name, times in Counter(member.name for member in found).items():
        if times > 1:
            yield f"holds {name} {times} times"
    known = set()
    for name, what, *expected in _expected(tables.rows[tar], tables.index[tar]):
        known.add(name)
        yield from (f"{what}: {line}" for line in _of_member(members.get(name), *expected))
    for row in tables.rows[tar]:
        meta, masks = sample.meta_member(row.id), sample.masks_member(row.id)
        known.add(meta)
        if masks in members:
            yield from (f"video {row.id}: {line}" for line in _of_chunks(row, members[masks].data))
        described = members[meta].data if meta in members else b""
        yield from (f"video {row.id}: {line}" for line in _of_meta(row, described))
    yield from (f"holds {name}, which no table names" for name in sorted(members.keys() - known))


def _expected(
    rows: Sequence[VideoRow], table: pa.Table
) -> Iterator[tuple[str, str, int, int, int]]:
    """List (member, description, offset, size, crc32) of everything the tables say of a tar."""
    columns = [table[name].to_pylist() for name in ("video", "frame", "offset", "size", "crc32")]
    for video, frame, *where in zip(*columns, strict=True):
        yield sample.frame_member(video, frame), f"video {video}, frame {frame}", *where
    for row in rows:
        where = [row.masks_offset, row.masks_size, row.masks_crc32]
        yield sample.masks_member(row.id), f"video {row.id}, masks", *where


def _of_member(found: Member | None, offset: int, size: int, crc32: int) -> Iterator[str]:
    if found is None:
        yield "not in the tar"
    elif (found.offset, found.size) != (offset, size):
        yield (
            f"at bytes {found.offset} to {found.offset + found.size}, the tables say "
            f"{offset} to {offset + size}"
        )
    elif found.crc32 != crc32:
        yield f"bytes {offset} to {offset + size} are not those the tables name (crc32)"


def _of_chunks(row: VideoRow, data: bytes) -> Iterator[str]:
    """Compare the masks with the sizes and sums of their chunks, by which they are read."""
    sizes = [size for variant in row.chunk_bytes for size in variant]
    sums = [crc32 for variant in row.chunk_crc32 for crc32 in variant]
    ends = list(accumulate(sizes))
    found = [zlib.crc32(data[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    if found != sums or ends[-1:] != [len(data)]:
        yield "masks are not the chunks that the catalogue names"


def _of_meta(row: VideoRow, data: bytes) -> Iterator[str]:
    """Compare the member that describes a video with its row."""
    try:
        described = json.loads(data)
        kinds = [variant["kind"] for variant in described["masks"]["variants"]]
        found = [described[name] for name in ("id", "split", "frames", "width", "height", "fps")]
        found += [kinds, described["masks"]["chunk_bytes"]]
    except (ValueError, KeyError, TypeError):
        yield "its description is not readable"
        return
    expected = [row.id, row.split, row.frames, row.width, row.height, row.fps]
    if found != [*expected, list(row.mask_kinds), [list(v) for v in row.chunk_bytes]]:
        yield "its description is not that of the catalogue"
