"""The parquet tables of a data set: a row per video, and per shard a row per frame."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CATALOGUE = "catalogue.parquet"
OK = "ok"

_CATALOGUE = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("frames", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fps", pa.string()),
        ("shard", pa.string()),
        ("masks_offset", pa.int64()),
        ("masks_size", pa.int64()),
        ("masks_crc32", pa.uint32()),
        ("mask_kinds", pa.list_(pa.string())),
        ("chunk_bytes", pa.list_(pa.list_(pa.int64()))),
        ("chunk_crc32", pa.list_(pa.list_(pa.uint32()))),
        ("source_name", pa.string()),
        ("source_sha256", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
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


@dataclass(frozen=True, slots=True)
class VideoRow:
    """One row of the catalogue."""

    id: str
    split: str
    frames: int
    width: int
    height: int
    fps: str
    shard: str
    """Path of the tar below the data set."""
    masks_offset: int
    """First byte of the mask member in the tar."""
    masks_size: int
    masks_crc32: int
    mask_kinds: list[str]
    chunk_bytes: list[list[int]]
    chunk_crc32: list[list[int]]
    source_name: str
    source_sha256: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class FrameRow:
    """One row of a shard's index."""

    video: str
    frame: int
    offset: int
    """First byte of the JPEG in the tar."""
    size: int
    crc32: int


def index_path(shard: str) -> str:
    """Path of the index of the shard `<split>-<00000>`, below the data set."""
    return f"index/{shard}.parquet"


def encode_catalogue(rows: Sequence[VideoRow]) -> bytes:
    """The catalogue as parquet; rows in the order of the plan."""
    return _encode(pa.Table.from_pylist([asdict(row) for row in rows], schema=_CATALOGUE))


def decode_catalogue(data: bytes) -> list[VideoRow]:
    """Read what `encode_catalogue` wrote."""
    return [VideoRow(**row) for row in pq.read_table(pa.BufferReader(data)).to_pylist()]


def encode_index(shard: str, rows: Sequence[FrameRow]) -> bytes:
    """The index of the tar at path `shard`, as parquet; frames in the order of the tar."""
    columns: dict[str, Any] = {
        "video": [row.video for row in rows],
        "frame": [row.frame for row in rows],
        "shard": [shard] * len(rows),
        "offset": [row.offset for row in rows],
        "size": [row.size for row in rows],
        "crc32": [row.crc32 for row in rows],
    }
    return _encode(pa.table(columns, schema=_INDEX))


def decode_index(data: bytes) -> pa.Table:
    """Read what `encode_index` wrote, as a table."""
    return pq.read_table(pa.BufferReader(data))


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
