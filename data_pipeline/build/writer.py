"""Writes one shard of the plan as one byte-deterministic tar in the lake, in one Ray task.

Frames never travel: a task reads a video into a local tar, hashes it, uploads it once under a name
that carries the hash, then its index, then a note that the shard is done. A resumed run skips
shards that have a note.
"""

import hashlib
import tarfile
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from numpy import uint8
from numpy.typing import NDArray

from data_pipeline.build.job_progress import Reporter
from data_pipeline.build.tasks import ShardResult, Task
from data_pipeline.cli.rejection import MAX_WORKER_DEATHS
from data_pipeline.cli.scratch import scratch_folder
from data_pipeline.format import sample
from data_pipeline.format.catalogue import (
    OK,
    REJECTED,
    FrameRow,
    VideoRow,
    encode_index,
    index_path,
    tar_path,
)
from data_pipeline.format.manifest import File
from data_pipeline.masks import free_form
from data_pipeline.masks.objects import NoObject, object_mask_frames
from data_pipeline.masks.overlays import OVERLAY, overlay_frames
from data_pipeline.sources.annotations import annotations
from data_pipeline.sources.read import jpegs
from data_pipeline.sources.record import AnnotatedVideo, BadVideoError, SourceStats, SourceVideo
from data_pipeline.storage import lake

_BLOCK = 512  # of a tar


class Tar:
    """Writer of a tar, as `webdataset.TarWriter(mtime=0, encoder=False, mode=0o644)` writes it.

    Same bytes, without its import, which loads torch in every worker; and members can be removed
    from the end.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, name: str, data: bytes) -> int:
        """Append one member; return the offset of its first byte of data."""
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = len(data), 0, 0o644
        self._file.write(member.tobuf(tarfile.USTAR_FORMAT))
        offset = self._file.tell()
        self._file.write(data)
        self._file.write(bytes(-len(data) % _BLOCK))
        return offset

    def tell(self) -> int:
        """Return where the next member will begin."""
        return self._file.tell()

    def cut(self, offset: int) -> None:
        """Remove every member from `offset` on."""
        self._file.seek(offset)
        self._file.truncate()

    def close(self) -> None:
        """Write the end of the archive, which is filled up to a whole record."""
        self._file.write(bytes(2 * _BLOCK))
        self._file.write(bytes(-self._file.tell() % tarfile.RECORDSIZE))


def write_shard(task: Task, output: str, reporter: Reporter) -> ShardResult:
    """Write one shard below `output`, the URI of the data set.

    Raises:
        UserError: the place cannot be written to.
        Refused: it is full, or the store does not answer.
    """
    with scratch_folder("shard") as folder:
        local = folder / "shard.tar"
        with local.open("wb") as file:
            contents = _Contents(Tar(file), task, reporter)
            for video in task.shard.videos:
                contents.add(video)
            contents.tar.close()
        return _upload(local, contents, output)


def _upload(local: Path, contents: "_Contents", output: str) -> ShardResult:
    """Upload tar and index; a shard without a video has neither."""
    name = contents.task.shard.name
    rows, payload = tuple(contents.videos), {}
    if contents.frames:
        with local.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        path = tar_path(name, sha256)
        payload[path] = File(local.stat().st_size, sha256)
        lake.upload(local, lake.join(output, path))
        index = encode_index(path, contents.frames)
        payload[index_path(name)] = File(len(index), hashlib.sha256(index).hexdigest())
        lake.write_bytes(lake.join(output, index_path(name)), index)
        rows = tuple(replace(row, shard=path) if row.status == OK else row for row in rows)
    return ShardResult(
        shard=name,
        payload=payload,
        videos=rows,
        details=contents.details,
        other_shape=tuple(contents.other_shape),
        annotations=contents.annotations,
    )


class _Contents:
    """Contents of one tar so far."""

    def __init__(self, tar: Tar, task: Task, reporter: Reporter) -> None:
        self.tar, self.task = tar, task
        self.videos: list[VideoRow] = []
        self.frames: list[FrameRow] = []
        self.details: dict[str, str] = {}
        self.other_shape: list[str] = []
        self.annotations: dict[str, str] = {}
        self._reporter = reporter

    def add(self, video: SourceVideo) -> None:
        """Append the sample of one video, or nothing but a row that says why not."""
        start, frames = self.tar.tell(), len(self.frames)
        try:
            if self._reporter.begin(video.id) >= MAX_WORKER_DEATHS:
                raise BadVideoError(f"ended its worker {MAX_WORKER_DEATHS} times")
            row = self._add(video)
        except BadVideoError as bad:
            self.tar.cut(start)
            del self.frames[frames:]
            self.details[video.id] = bad.detail
            row = VideoRow(
                id=video.id,
                split=video.split,
                status=REJECTED,
                reason=bad.reason,
                source_name=video.name,
                source_bytes=video.bytes,
            )
        self.videos.append(row)
        self._reporter.end(video.id, rejected=row.status == REJECTED)

    def _add(self, video: SourceVideo) -> VideoRow:
        """Append the sample of one video: frames, masks, description."""
        task, seen = self.task, SourceStats()
        count = frame_bytes = 0
        for jpeg in jpegs(video, task.width, task.height, task.limits, seen, task.fit):
            offset = self.tar.add(sample.frame_member(video.id, count), jpeg)
            self.frames.append(FrameRow(video.id, count, offset, len(jpeg), zlib.crc32(jpeg)))
            self._reporter.frame(len(jpeg))
            count, frame_bytes = count + 1, frame_bytes + len(jpeg)
        if count < task.limits.min_frames:
            raise BadVideoError(f"has {count} frames, fewer than {task.limits.min_frames}")
        if seen.other_shape:
            self.other_shape.append(video.id)
        variants, chunks = _masks(video, count, task, self.annotations)
        masks_offset = self.tar.add(sample.masks_member(video.id), chunks.data)
        meta = sample.encode_meta(
            video=video.id,
            split=video.split,
            frames=count,
            width=task.width,
            height=task.height,
            fps=video.fps,
            source={"name": video.name, "sha256": seen.sha256},
            variants=variants,
            chunk_bytes=chunks.sizes,
        )
        self.tar.add(sample.meta_member(video.id), meta)
        return VideoRow(
            id=video.id,
            split=video.split,
            status=OK,
            frames=count,
            width=task.width,
            height=task.height,
            fps=video.fps,
            shard="",  # named by the hash of the finished tar
            frame_bytes=frame_bytes,
            masks_offset=masks_offset,
            masks_size=len(chunks.data),
            masks_crc32=zlib.crc32(chunks.data),
            mask_kinds=[variant.kind for variant in variants],
            chunk_bytes=[list(sizes) for sizes in chunks.sizes],
            chunk_crc32=[list(sums) for sums in chunks.crc32],
            source_name=video.name,
            source_sha256=seen.sha256,
            source_bytes=video.bytes,
            source_width=seen.width,
            source_height=seen.height,
        )


def _masks(
    video: SourceVideo, frames: int, task: Task, unused: dict[str, str]
) -> tuple[list[sample.Variant], sample.MaskChunks]:
    """Make all mask variants of one video, packed; object masks only where an object is found.

    Donors whose annotations cannot be used are added to `unused`, with the reason.
    """
    variants: list[sample.Variant] = []
    sequences: list[Iterator[NDArray[uint8]]] = []
    donors = deque(task.donors.get(video.id, ()))
    for index, kind in enumerate(task.kinds):
        seed = free_form.variant_seed(task.seed, video.id, index)
        if kind != free_form.OBJECT:
            drawn = overlay_frames if kind == OVERLAY else partial(free_form.mask_frames, kind)
            variants.append(sample.Variant(kind, seed))
            sequences.append(drawn(seed, frames, task.height, task.width))
        elif found := _object(donors, seed, frames, task, unused):
            variants.append(sample.Variant(kind, seed, found[0]))
            sequences.append(found[1])
    return variants, sample.encode_masks(sequences)


def _object(
    donors: deque[AnnotatedVideo], seed: int, frames: int, task: Task, unused: dict[str, str]
) -> tuple[str, Iterator[NDArray[uint8]]] | None:
    """Return a donor's id and its object's masks; the next variant begins with the next donor."""
    for _ in range(len(donors)):
        donor = donors[0]
        donors.rotate(-1)
        try:
            labels = annotations(donor, task.limits)
            found = object_mask_frames(labels, seed, frames, task.height, task.width, task.fit)
        except BadVideoError as error:
            unused[donor.id] = str(error)
            continue
        except NoObject:
            continue
        return donor.id, found
    return None
