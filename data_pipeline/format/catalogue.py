"""The parquet tables of a data set: a row per video, and per shard a row per frame."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CATALOGUE = "catalogue.parquet"
OK = "ok"
REJECTED = "rejected"

_CATALOGUE = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("frames", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fps", pa.string()),
        ("shard", pa.string()),
        ("frame_bytes", pa.int64()),
        ("masks_offset", pa.int64()),
        ("masks_size", pa.int64()),
        ("masks_crc32", pa.uint32()),
        ("mask_kinds", pa.list_(pa.string())),
        ("chunk_bytes", pa.list_(pa.list_(pa.int64()))),
        ("chunk_crc32", pa.list_(pa.list_(pa.uint32()))),
        ("source_name", pa.string()),
        ("source_sha256", pa.string()),
        ("source_bytes", pa.int64()),
        ("source_width", pa.int32()),
        ("source_height", pa.int32()),
    ]
)
_INDEX = pa.schema(
    [
        ("video", pa.string()),
        ("frame", pa.int32()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int32()),
        ("crc32", pa.uint32()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRow:
    """Row of the catalogue: a video of the data set, or one that was left out and why."""

    id: str
    split: str
    status: str
    """`ok` or `rejected`."""
    reason: str = ""
    """Why it was left out."""
    frames: int = 0
    """0 for a video left out, like all that follows."""
    width: int = 0
    height: int = 0
    fps: str = ""
    """Frames per second, as a fraction."""
    shard: str = ""
    """Path of the tar below the data set."""
    frame_bytes: int = 0
    """Size of all its JPEGs, bytes."""
    masks_offset: int = 0
    """First byte of the mask member in the tar."""
    masks_size: int = 0
    masks_crc32: int = 0
    mask_kinds: list[str] = field(default_factory=list)
    chunk_bytes: list[list[int]] = field(default_factory=list)
    chunk_crc32: list[list[int]] = field(default_factory=list)
    source_name: str = ""
    """Name of the file or folder, below the input."""
    source_sha256: str = ""
    source_bytes: int = 0
    source_width: int = 0
    """Width of the frames before they were resized, pixels."""
    source_height: int = 0


@dataclass(frozen=True, slots=True)
class FrameRow:
    """Row of a shard's index: a frame."""

    video: str
    frame: int
    offset: int
    """First byte of the JPEG in the tar."""
    size: int
    crc32: int


def index_path(shard: str) -> str:
    """Return the path of the index of the shard `<split>-<00000>`, below the data set."""
    return f"index/{shard}.parquet"


def tar_path(shard: str, sha256: str) -> str:
    """Return the path of the tar of a shard, below the data set; its name carries the hash."""
    return f"shards/{shard}-{sha256[:8]}.tar"


def shard_name(tar: str) -> str:
    """Return the shard `<split>-<00000>` whose tar is at this path."""
    return tar.removeprefix("shards/").rpartition("-")[0]


def encode_catalogue(rows: Sequence[VideoRow]) -> bytes:
    """Encode the catalogue as parquet; rows in the order of the plan."""
    return _encode(pa.Table.from_pylist([asdict(row) for row in rows], schema=_CATALOGUE))


def decode_catalogue(data: bytes) -> list[VideoRow]:
    """Read what `encode_catalogue` wrote."""
    return [VideoRow(**row) for row in decode_table(data).to_pylist()]


def encode_index(shard: str, rows: Sequence[FrameRow]) -> bytes:
    """Encode the index of the tar at path `shard` as parquet; frames in the order of the tar."""
    columns: dict[str, Any] = {
        "video": [row.video for row in rows],
        "frame": [row.frame for row in rows],
        "shard": [shard] * len(rows),
        "offset": [row.offset for row in rows],
        "size": [row.size for row in rows],
        "crc32": [row.crc32 for row in rows],
    }
    return _encode(pa.table(columns, schema=_INDEX))


def decode_table(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Decode a parquet file, or some of its columns, as a table."""
    # Not `pq.read_table`: a thread of its engine may outlive the call, and when the process ends at
    # that moment it is aborted.
    file = pq.ParquetFile(pa.BufferReader(data))
    return file.read(None if columns is None else list(columns), use_threads=False)


def _encode(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    # Every option that shapes the bytes is named: they are part of the digest.
    pq.write_table(
        table,
        sink,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=True,
        write_statistics=True,
        row_group_size=2**20,
    )
    return bytes(sink.getvalue().to_pybytes())
