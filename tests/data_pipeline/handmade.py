"""A small data set made with the product's encoders, without Ray and without videos, anywhere."""

import io
import zlib
from collections.abc import Mapping
from hashlib import sha256

import numpy as np

from data_pipeline.build.writer import Tar
from data_pipeline.format import catalogue, manifest, sample
from data_pipeline.format.catalogue import FrameRow, VideoRow
from data_pipeline.format.manifest import File, Manifest
from data_pipeline.masks import free_form
from data_pipeline.storage import lake

HEIGHT, WIDTH = 48, 64
KINDS = (free_form.STATIC, free_form.MOVING)
VIDEOS = {"test-00000": {"a": 6}, "train-00000": {"b": 5, "c": 40}, "train-00001": {"d": 7}}


def make(
    uri: str,
    *,
    shards: Mapping[str, Mapping[str, int]] = VIDEOS,
    parents: Mapping[str, str] | None = None,
    seed: int = 0,
    version: str = "v1",
) -> Manifest:
    """Write a data set: shard -> video -> number of frames, and one video that was left out."""
    payload: dict[str, File] = {}
    rows: list[VideoRow] = []
    for shard, videos in shards.items():
        rows += _write_shard(uri, shard, videos, seed, payload)
    bad = {"status": catalogue.REJECTED, "reason": "has no picture", "source_name": "bad.mp4"}
    rows.append(VideoRow(id="bad", split="train", **bad))
    _put(uri, catalogue.CATALOGUE, catalogue.encode_catalogue(rows), payload)
    return commit(uri, payload, parents or {}, seed, version)


def commit(uri, payload, parents=None, seed=0, version="v1") -> Manifest:
    """Write the manifest."""
    settings = {"source": "videos", "width": WIDTH, "height": HEIGHT, "seed": seed}
    provenance = {
        "uri": uri,
        "name": uri.split("/")[-2],
        "version": version,
        "created": "2026-11-22T12:00:00+00:00",
        "parents": dict(parents or {}),
        "rejected": {},
    }
    made = Manifest(settings, payload, manifest.digest_of(settings, payload), provenance)
    manifest.create(uri, made)
    return made


def commit_again(uri: str) -> Manifest:
    """Write a manifest that agrees with the existing files, even damaged ones."""
    names = [name for name in lake.list_files(uri) if name != manifest.MANIFEST]
    payload = {name: _file(lake.read_bytes(lake.join(uri, name))) for name in names}
    lake.remove(lake.join(uri, manifest.MANIFEST))
    return commit(uri, payload)


def _write_shard(uri, shard, videos, seed, payload) -> list[VideoRow]:
    file = io.BytesIO()
    tar, frames, rows = Tar(file), [], []
    for video, count in videos.items():
        rows.append(_add_video(tar, frames, video, count, shard.split("-")[0], seed))
    tar.close()
    path = f"shards/{shard}-{sha256(file.getvalue()).hexdigest()[:8]}.tar"
    _put(uri, path, file.getvalue(), payload)
    _put(uri, catalogue.index_path(shard), catalogue.encode_index(path, frames), payload)
    return [VideoRow(**{**_fields(row), "shard": path}) for row in rows]


def _add_video(tar, frames, video, count, split, seed) -> VideoRow:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    size = 0
    for number in range(count):
        waves = [np.sin((x + 2 * number) / 9 + seed + c) + np.cos(y / 7 + c) for c in range(3)]
        picture = (128 + 60 * np.stack(waves, axis=-1)).clip(0, 255).astype(np.uint8)
        jpeg = sample.encode_frame(picture)
        offset = tar.add(sample.frame_member(video, number), jpeg)
        frames.append(FrameRow(video, number, offset, len(jpeg), zlib.crc32(jpeg)))
        size += len(jpeg)
    variants = [
        sample.Variant(kind, free_form.variant_seed(seed, video, index))
        for index, kind in enumerate(KINDS)
    ]
    chunks = sample.encode_masks(
        free_form.mask_frames(one.kind, one.seed, count, HEIGHT, WIDTH) for one in variants
    )
    masks_offset = tar.add(sample.masks_member(video), chunks.data)
    about = {"split": split, "frames": count, "width": WIDTH, "height": HEIGHT, "fps": "25"}
    source = {"name": f"{video}.mp4", "sha256": "0" * 64}
    meta = sample.encode_meta(
        video=video, source=source, variants=variants, chunk_bytes=chunks.sizes, **about
    )
    tar.add(sample.meta_member(video), meta)
    return VideoRow(
        id=video,
        status=catalogue.OK,
        frame_bytes=size,
        masks_offset=masks_offset,
        masks_size=len(chunks.data),
        masks_crc32=zlib.crc32(chunks.data),
        mask_kinds=[one.kind for one in variants],
        chunk_bytes=[list(sizes) for sizes in chunks.sizes],
        chunk_crc32=[list(sums) for sums in chunks.crc32],
        source_name=source["name"],
        source_sha256=source["sha256"],
        source_bytes=1000,
        source_width=2 * WIDTH,
        source_height=2 * HEIGHT,
        **about,
    )


def _fields(row: VideoRow) -> dict:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def _put(uri, path, data, payload) -> None:
    lake.write_bytes(lake.join(uri, path), data)
    payload[path] = _file(data)


def _file(data: bytes) -> File:
    return File(len(data), sha256(data).hexdigest())
