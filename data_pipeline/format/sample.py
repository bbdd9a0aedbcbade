"""Encodes one video for a shard: the contract between writer and reader.

Members, in this order: `<id>.f00000.jpg` ..., `<id>.masks.bits.zst`, `<id>.meta.json`.

The mask member holds bits [V, T, ceil(H*W/8)], each frame packed over its row-major pixels. It is
cut in chunks of `FRAMES_PER_CHUNK` frames of one variant; each chunk is one zstd frame, so
`zstd -d` of the whole gives all bits and one chunk can be read alone.

Legend: V mask variants, T frames, H rows, W columns.
"""

import io
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from data_pipeline.cli.canonical import canonical_json

SCHEMA = 2
FRAMES_PER_CHUNK = 32
ZSTD_LEVEL = 9
JPEG_QUALITY = 95
JPEG_SUBSAMPLING = "4:2:0"

# A member's name must fit in the 100 bytes of a USTAR header, and its key ends at the first dot.
ID_LENGTH = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class Variant:
    """Description of one mask sequence of a video."""

    kind: str
    """`stationary` (the stored name of static masks), `moving` or `object`."""
    seed: int
    """Seed of the sequence; it depends on the kind and the sizes, too."""
    donor: str = ""
    """Id of the video whose object is the mask; "" for free forms."""


@dataclass(frozen=True, slots=True)
class MaskChunks:
    """The mask member of one video and the sizes of its chunks."""

    data: bytes
    """All chunks, concatenated."""
    sizes: tuple[tuple[int, ...], ...]
    """Size of each chunk in bytes, [V][chunks]."""
    crc32: tuple[tuple[int, ...], ...]
    """CRC-32 of each chunk, [V][chunks]."""


def safe_id(name: str) -> str:
    """Make a video id of any name: letters, digits, `_` and `-` only."""
    return _UNSAFE.sub("_", name)[:ID_LENGTH]


def meta_member(video: str) -> str:
    """Return the name of the member that describes the video."""
    return f"{video}.meta.json"


def masks_member(video: str) -> str:
    """Return the name of the member that holds all masks."""
    return f"{video}.masks.bits.zst"


def frame_member(video: str, frame: int) -> str:
    """Return the name of the member that holds one frame."""
    return f"{video}.f{frame:05d}.jpg"


def encode_meta(
    *,
    video: str,
    split: str,
    frames: int,
    width: int,
    height: int,
    fps: str,
    source: dict[str, str],
    variants: Iterable[Variant],
    chunk_bytes: tuple[tuple[int, ...], ...],
) -> bytes:
    """Encode the member that describes the video, as canonical JSON."""
    described = [asdict(variant) for variant in variants]
    return canonical_json(
        {
            "schema": SCHEMA,
            "id": video,
            "split": split,
            "frames": frames,
            "width": width,
            "height": height,
            "fps": fps,
            "source": source,
            "masks": {
                "frames_per_chunk": FRAMES_PER_CHUNK,
                "variants": described,
                "chunk_bytes": chunk_bytes,
            },
        }
    )


def encode_frame(frame: NDArray[np.uint8]) -> bytes:
    """Encode one frame, uint8 [H, W, 3], as JPEG."""
    data = io.BytesIO()
    # Every option that has a default is named: the bytes are part of the digest.
    Image.fromarray(frame).save(
        data,
        format="JPEG",
        quality=JPEG_QUALITY,
        subsampling=JPEG_SUBSAMPLING,
        optimize=False,
        progressive=False,
    )
    return data.getvalue()


def decode_frame(data: bytes) -> NDArray[np.uint8]:
    """Decode one JPEG to uint8 [H, W, 3]; OSError when it is damaged."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB"))


def encode_masks(variants: Iterable[Iterable[NDArray[np.uint8]]]) -> MaskChunks:
    """Pack all masks of a video: per variant an iterable of T masks, uint8 [H, W] of 0 and 1."""
    data: list[bytes] = []
    sizes: list[tuple[int, ...]] = []
    sums: list[tuple[int, ...]] = []
    for masks in variants:
        chunks = _chunks_of_variant(masks)
        data += chunks
        sizes.append(tuple(len(chunk) for chunk in chunks))
        sums.append(tuple(zlib.crc32(chunk) for chunk in chunks))
    return MaskChunks(b"".join(data), tuple(sizes), tuple(sums))


def decode_mask_chunk(
    data: bytes, frames: int, height: int, width: int, wanted: Sequence[int] | None = None
) -> NDArray[np.uint8]:
    """Decode `frames` masks to uint8 [frames, H, W] of 0 and 1, or only the `wanted` ones."""
    row = _packed_bytes(height, width)
    bits = _codec().decompress(data, decompressed_size=frames * row)
    packed = np.frombuffer(bits, dtype=np.uint8).reshape(frames, row)
    chosen = packed if wanted is None else packed[list(wanted)]
    return np.unpackbits(chosen, axis=1, count=height * width).reshape(-1, height, width)


def chunk_of(frame: int) -> tuple[int, int]:
    """Return the chunk that holds a frame's mask, and the frame's index in it."""
    return divmod(frame, FRAMES_PER_CHUNK)


def frames_of_chunk(chunk: int, frames: int) -> int:
    """Count the masks in a chunk of a video of `frames` frames: the last one may be short."""
    return min(FRAMES_PER_CHUNK, frames - chunk * FRAMES_PER_CHUNK)


def _chunks_of_variant(masks: Iterable[NDArray[np.uint8]]) -> list[bytes]:
    chunks: list[bytes] = []
    waiting: list[bytes] = []
    for mask in masks:
        waiting.append(np.packbits(mask).tobytes())
        if len(waiting) == FRAMES_PER_CHUNK:
            chunks.append(_compress(waiting))
            waiting = []
    return [*chunks, _compress(waiting)] if waiting else chunks


def _compress(packed: list[bytes]) -> bytes:
    return bytes(_codec().compress(b"".join(packed), asbytes=True))


def _codec() -> Any:
    # Made for each use: a codec holds state and is not safe in threads.
    return pa.Codec("zstd", compression_level=ZSTD_LEVEL)


def _packed_bytes(height: int, width: int) -> int:
    return -(-height * width // 8)
