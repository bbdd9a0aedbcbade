"""Streams whole videos as a `webdataset` pipeline, for other uses than training.

The tars can be read by `webdataset` or `tar` alone. This adds S3 and the cache of the node, and it
verifies a shard before it is read, because a tar that is cut short reads like a short tar.

Training reads through `reader.py` instead. A clip is a few frames of one video: the index finds
them without reading the rest of the tar, and a resumed run starts at any position of the clip order
at once. Shards pass through the cache of the node in windows: the data set may be larger than it. A
stream comes in the order of the tars, and starts at their beginning.

Legend: T frames, H rows, W columns, V mask variants.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import webdataset as wds
from numpy.typing import NDArray
from webdataset.tariterators import group_by_keys, tar_file_expander

from data_pipeline.format import sample
from data_pipeline.read.cache import CorruptData, NodeCache
from data_pipeline.read.files import Files
from data_pipeline.read.reader import DataSet


def stream(
    uri: str, split: str | None = None, *, decode: bool = True, cache: NodeCache | None = None
) -> wds.FluidWrapper:
    """Stream the videos of a data set, shard by shard, once.

    A pipeline of `webdataset`: `.shuffle`, `.map` and so on can follow. Each rank (RANK and
    WORLD_SIZE, or torch.distributed) and each worker of a DataLoader has shards of its own.

    Args:
        uri: URI of the data set.
        split: split to stream; all when None.
        decode: give frames as pixels, not as JPEGs.
        cache: as for `DataSet.open`.

    Returns:
        Samples `{"__key__": id, "meta": dict, "frames": uint8 [T, H, W, 3] or T JPEGs,
        "masks": uint8 [V, T, H, W] of 0 and 1 (1 = hole)}`.

    Raises:
        UserError: there is no such data set or split.
        CorruptData: while it is read, when a shard is not what was written.
    """
    data = DataSet.open(uri, cache)
    frames: Counter[str] = Counter()
    for name in data.splits if split is None else (split,):
        for video in data.videos(name):
            frames[video.shard] += video.frames
    return wds.FluidWrapper(
        wds.DataPipeline(
            wds.SimpleShardList(list(frames)),
            wds.split_by_node,
            wds.split_by_worker,
            partial(_samples, data.files, frames),
            wds.map(partial(_decoded, decode=decode)),
        )
    )


def _samples(
    files: Files, frames: Mapping[str, int], shards: Iterable[dict[str, str]]
) -> Iterator[dict[str, Any]]:
    """Yield the members of each video; raise where frames are missing."""
    for shard in (one["url"] for one in shards):
        read = 0
        with files.open(shard) as file:
            for members in group_by_keys(tar_file_expander([{"url": shard, "stream": file}])):
                read += sum(name.endswith(".jpg") for name in members)
                yield members
        if read != frames[shard]:
            raise CorruptData(
                f"{files.uri}/{shard}: {read} frames could be read, the catalogue says "
                f"{frames[shard]}: run `verify` and restore the shard"
            )


def _decoded(raw: dict[str, Any], *, decode: bool) -> dict[str, Any]:
    """Decode the members of one video."""
    meta = json.loads(raw["meta.json"])
    key = raw["__key__"]
    names = (sample.frame_member(key, frame) for frame in range(meta["frames"]))
    jpegs = [raw[name.removeprefix(f"{key}.")] for name in names]
    return {
        "__key__": key,
        "meta": meta,
        "frames": np.stack([sample.decode_frame(jpeg) for jpeg in jpegs]) if decode else jpegs,
        "masks": _masks(raw["masks.bits.zst"], meta),
    }


def _masks(data: bytes, meta: dict[str, Any]) -> NDArray[np.uint8]:
    """Decode all masks of a video, uint8 [V, T, H, W]."""
    frames, height, width = meta["frames"], meta["height"], meta["width"]
    variants = meta["masks"]["chunk_bytes"]
    out = np.empty((len(variants), frames, height, width), dtype=np.uint8)
    start = 0
    for variant, sizes in enumerate(variants):
        for chunk, size in enumerate(sizes):
            first, count = chunk * sample.FRAMES_PER_CHUNK, sample.frames_of_chunk(chunk, frames)
            packed = data[start : start + size]
            masks = sample.decode_mask_chunk(packed, count, height, width)
            out[variant, first : first + count] = masks
            start += size
    return out
