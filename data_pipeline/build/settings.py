"""Turns the config and the records of the videos into settings of the data set and tasks.

Both are pure functions, known before a frame is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from data_pipeline.build.plan import MEGABYTE, plan_shards
from data_pipeline.build.tasks import PackedTask, Task
from data_pipeline.cli.canonical import sha256_of_json
from data_pipeline.config import ShardConfig
from data_pipeline.format import sample
from data_pipeline.format.ring import Ring
from data_pipeline.masks import free_form, overlays
from data_pipeline.sources.camera import CAMERA
from data_pipeline.sources.record import AnnotatedVideo, Limits, SourceVideo


def settings_of(config: ShardConfig, videos: Sequence[SourceVideo]) -> dict[str, Any]:
    """Return everything that decides what the data set holds; no frame is read."""
    records = [[v.id, v.split, v.name, v.frames, v.bytes, v.annotations != ""] for v in videos]
    return {
        "source": config.source,
        **({"camera": CAMERA} if config.source == "photos" else {}),
        "sources_sha256": sha256_of_json(records),
        "width": config.width,
        "height": config.height,
        "seed": config.seed,
        "shard_megabytes": config.shard_megabytes,
        "limits": asdict(limits_of(config)),
        "masks": {
            "generator": free_form.GENERATOR,
            "stationary": config.static,
            "moving": config.moving,
            "objects": config.objects,
            "frames_per_chunk": sample.FRAMES_PER_CHUNK,
            "zstd_level": sample.ZSTD_LEVEL,
            # Without one the digest of a data set is what it was before there were any.
            **(
                {"overlays": config.overlays, "overlay_generator": overlays.GENERATOR}
                if config.overlays
                else {}
            ),
        },
        "jpeg": {"quality": sample.JPEG_QUALITY, "subsampling": sample.JPEG_SUBSAMPLING},
    }


def limits_of(config: ShardConfig) -> Limits:
    """Return the limits on the size of a video."""
    return Limits(
        min_frames=config.min_frames,
        max_frames=config.max_frames,
        max_pixels=config.max_pixels,
        max_frame_bytes=config.max_frame_megabytes * MEGABYTE,
    )


def packed_tasks(config: ShardConfig, videos: Sequence[SourceVideo]) -> tuple[PackedTask, ...]:
    """Return the plan: the task of each shard, packed."""
    shards = plan_shards(
        videos,
        seed=config.seed,
        megabytes=config.shard_megabytes,
        width=config.width,
        height=config.height,
    )
    kinds = free_form.variant_kinds(config.static, config.moving, config.objects, config.overlays)
    donors = _donors(config, videos)
    return tuple(
        Task(
            shard=shard,
            width=config.width,
            height=config.height,
            fit=config.chosen_fit,
            seed=config.seed,
            kinds=kinds,
            limits=limits_of(config),
            donors={video.id: donors(video) for video in shard.videos} if config.objects else {},
        ).encode()
        for shard in shards
    )


def _donors(
    config: ShardConfig, videos: Sequence[SourceVideo]
) -> Callable[[SourceVideo], tuple[AnnotatedVideo, ...]]:
    """Return a function from a video to annotated others of its split, one more than it needs."""
    annotated = {
        video.id: AnnotatedVideo(video.id, video.uri, video.name, video.annotations)
        for video in videos
        if video.annotations and not video.bad
    }
    rings = {
        split: Ring.of(
            (v.id for v in videos if v.split == split and v.id in annotated), config.seed
        )
        for split in {video.split for video in videos}
    }

    def donors(video: SourceVideo) -> tuple[AnnotatedVideo, ...]:
        # One more than masks: some have no object of a usable size.
        chosen = rings[video.split].donors(video.id, config.seed, config.objects + 1)
        return tuple(annotated[donor] for donor in chosen)

    return donors
