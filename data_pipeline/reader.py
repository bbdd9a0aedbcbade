"""Frames and masks of a data set as arrays, each checked against the sum in its index.

Nothing is unpacked: the index says where a frame is in its tar, and only its bytes are read.

Legend: T frames, H rows, W columns.
"""

import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from typing import final

import numpy as np
from numpy.typing import NDArray

from data_pipeline import lake, manifest, sample
from data_pipeline.catalogue import (
    CATALOGUE,
    OK,
    VideoRow,
    decode_catalogue,
    decode_index,
    index_path,
)
from data_pipeline.clips import Clip
from data_pipeline.door import Refused, UserError, nearest
from data_pipeline.manifest import Manifest


class CorruptData(Refused):
    """Bytes of the data set are not what its index says; names shard, video, frame, range."""


@dataclass(frozen=True, slots=True)
class Video:
    """One video of a data set."""

    id: str
    """Key in the data set."""
    split: str
    """`train` or `test`."""
    frames: int
    """Number of frames."""
    fps: Fraction
    """Frames per second."""
    shard: str
    """Path of its tar below the data set."""
    mask_kinds: tuple[str, ...]
    """Kind of each mask variant."""


@dataclass(frozen=True, slots=True)
class _Frames:
    """Where the frames of one video are in their tar, each [T]."""

    offset: NDArray[np.int64]
    size: NDArray[np.int32]
    crc32: NDArray[np.uint32]


@final
class DataSet:
    """A data set that is open for reading. Safe in threads; each process opens its own."""

    def __init__(self, uri: str, made: Manifest) -> None:
        self.uri = uri
        self.digest = made.digest
        self.width = int(made.settings["width"])
        self.height = int(made.settings["height"])
        self._manifest = made
        self._rows = {row.id: row for row in decode_catalogue(self._payload(CATALOGUE))}
        self._index: dict[str, dict[str, _Frames]] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, uri: str) -> "DataSet":
        """Open the data set at `uri`.

        Raises:
            UserError: there is no data set, or this code cannot read it.
        """
        uri = lake.absolute(uri)
        return cls(uri, manifest.load(uri))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have a video, sorted."""
        return tuple(sorted({row.split for row in self._rows.values() if row.status == OK}))

    def videos(self, split: str) -> tuple[Video, ...]:
        """The videos of one split, shard by shard.

        Raises:
            UserError: the data set has no such split.
        """
        if split not in self.splits:
            raise UserError(
                f"{self.uri} has no split {split!r}{nearest(split, self.splits)}: "
                f"it has {', '.join(self.splits)}"
            )
        rows = self._rows.values()
        return tuple(_video(row) for row in rows if row.status == OK and row.split == split)

    def read_frames(self, video: Video, frames: Sequence[int]) -> NDArray[np.uint8]:
        """Read frames by their numbers, uint8 [T, H, W, 3].

        Raises:
            CorruptData: the bytes of a frame are not what was written.
        """
        where = self._frames_of(video)
        out = np.empty((len(frames), self.height, self.width, 3), dtype=np.uint8)
        for place, frame in enumerate(frames):
            start, size = int(where.offset[frame]), int(where.size[frame])
            data = lake.read_range(lake.join(self.uri, video.shard), start, size)
            if zlib.crc32(data) != where.crc32[frame]:
                raise _corrupt(video, f"frame {frame}", start, size)
            out[place] = sample.decode_frame(data)
        return out

    def read_masks(self, video: Video, variant: int, frames: Sequence[int]) -> NDArray[np.uint8]:
        """Read masks of one variant by frame numbers, uint8 [T, H, W] of 0 and 1 (1 = hole).

        Raises:
            CorruptData: the bytes of a mask are not what was written.
        """
        chunks: dict[int, NDArray[np.uint8]] = {}
        out = np.empty((len(frames), self.height, self.width), dtype=np.uint8)
        for place, frame in enumerate(frames):
            chunk, inside = sample.chunk_of(frame)
            if chunk not in chunks:
                chunks[chunk] = self._read_chunk(video, variant, chunk)
            out[place] = chunks[chunk][inside]
        return out

    def _read_chunk(self, video: Video, variant: int, chunk: int) -> NDArray[np.uint8]:
        row = self._rows[video.id]
        before = [size for sizes in row.chunk_bytes[:variant] for size in sizes]
        start = row.masks_offset + sum(before) + sum(row.chunk_bytes[variant][:chunk])
        size = row.chunk_bytes[variant][chunk]
        data = lake.read_range(lake.join(self.uri, row.shard), start, size)
        if zlib.crc32(data) != row.chunk_crc32[variant][chunk]:
            first = chunk * sample.FRAMES_PER_CHUNK
            raise _corrupt(video, f"mask {variant} from frame {first}", start, size)
        count = sample.frames_of_chunk(chunk, row.frames)
        return sample.decode_mask_chunk(data, count, self.height, self.width)

    def _frames_of(self, video: Video) -> _Frames:
        with self._lock:
            if video.shard not in self._index:
                self._index[video.shard] = self._read_index(video.shard)
            return self._index[video.shard][video.id]

    def _read_index(self, shard: str) -> dict[str, _Frames]:
        name = shard.removeprefix("shards/").rsplit("-", 1)[0]
        table = decode_index(self._payload(index_path(name)))
        offset, size, crc32 = (table[c].to_numpy() for c in ("offset", "size", "crc32"))
        found: dict[str, _Frames] = {}
        first = 0
        # Rows are in the order of the tar: the frames of a video follow each other.
        for run in table["video"].combine_chunks().dictionary_encode().value_counts():
            rows = slice(first, first + run["counts"].as_py())
            found[run["values"].as_py()] = _Frames(offset[rows], size[rows], crc32[rows])
            first = rows.stop
        return found

    def _payload(self, path: str) -> bytes:
        """A whole small file of the data set, checked against the manifest."""
        data = lake.read_bytes(lake.join(self.uri, path))
        if sha256(data).hexdigest() != self._manifest.payload[path].sha256:
            raise CorruptData(f"{self.uri}/{path} is not the file its manifest names: verify it")
        return data


def read_clip(
    dataset: DataSet, video: Video, clip: Clip
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read one clip of `video`, which is `dataset.videos(split)[clip.video]`.

    Returns:
        Frames, uint8 [T, H, W, 3], and masks, uint8 [T, H, W] of 0 and 1 (1 = hole). A flip
        mirrors the frames only, as in the official code (`core/dataset.py`).
    """
    frames = dataset.read_frames(video, clip.frames)
    masks = dataset.read_masks(video, clip.variant, clip.frames)
    return (frames[:, :, ::-1].copy() if clip.flip else frames), masks


def _video(row: VideoRow) -> Video:
    return Video(
        id=row.id,
        split=row.split,
        frames=row.frames,
        fps=Fraction(row.fps),
        shard=row.shard,
        mask_kinds=tuple(row.mask_kinds),
    )


def _corrupt(video: Video, what: str, start: int, size: int) -> CorruptData:
    return CorruptData(
        f"shard {video.shard}, video {video.id}, {what}: bytes {start} to {start + size} are not "
        "what was written; run `verify` and restore the shard"
    )
