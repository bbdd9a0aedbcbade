"""A whole data set: look, plan, one Ray Data job over the plan, tables, manifest last."""

import importlib.metadata
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from re import fullmatch
from typing import Any

import ray.data

from data_pipeline import catalogue, lake, manifest, masks, sample
from data_pipeline.canonical import sha256_of_json
from data_pipeline.config import ShardConfig
from data_pipeline.door import UserError
from data_pipeline.manifest import File, Manifest
from data_pipeline.plan import MEGABYTE, Shard, plan_shards
from data_pipeline.progress import progress
from data_pipeline.provenance import commit
from data_pipeline.session import ray_session
from data_pipeline.sources import SourceVideo, video_files
from data_pipeline.writer import Task, Written, write_shard

# The files that a run which was killed may have left; nothing else is ever deleted.
_OURS = r"shards/\w+-\d{5}-[0-9a-f]{8}\.tar|index/\w+-\d{5}\.parquet|catalogue\.parquet"
_TOOLS = ("av", "numpy", "pillow", "pyarrow", "ray")


@dataclass(frozen=True, slots=True)
class Built:
    """What a build ended with."""

    uri: str
    """Of the data set."""
    digest: str
    """Of the data set."""
    already_there: bool
    """True when nothing had to be done."""
    videos: int
    """In the data set."""
    frames: int
    """In the data set."""
    bytes: int
    """Of all files but the manifest."""
    rejected: int
    """Videos left out; the catalogue says why."""


def build(config: ShardConfig) -> Built:
    """Build the data set that `config` describes, or find that it is there already.

    Raises:
        UserError: an input cannot be used, or something else is at the output; nothing is left
            behind.
    """
    uri = lake.absolute(config.output)
    videos = video_files(config.input, config.held_out)
    settings = _settings(config, videos)
    if lake.exists(lake.join(uri, manifest.MANIFEST)):
        return _already_there(uri, settings, videos)
    _refuse_foreign_files(uri)
    shards = plan_shards(
        videos,
        seed=config.seed,
        megabytes=config.shard_megabytes,
        width=config.width,
        height=config.height,
    )
    payload, rows = _write_shards(uri, config, shards)
    return _commit(uri, settings, payload, rows)


def _settings(config: ShardConfig, videos: Sequence[SourceVideo]) -> dict[str, Any]:
    """Everything that decides what the data set holds; known without decoding."""
    records = [[v.id, v.split, v.name, v.sha256] for v in videos]
    return {
        "source": config.source,
        "sources_sha256": sha256_of_json(records),
        "width": config.width,
        "height": config.height,
        "seed": config.seed,
        "shard_megabytes": config.shard_megabytes,
        "masks": {
            "generator": masks.GENERATOR,
            "stationary": config.stationary,
            "moving": config.moving,
            "frames_per_chunk": sample.FRAMES_PER_CHUNK,
            "zstd_level": sample.ZSTD_LEVEL,
        },
        "jpeg": {"quality": sample.JPEG_QUALITY, "subsampling": sample.JPEG_SUBSAMPLING},
    }


def _already_there(uri: str, settings: dict[str, Any], videos: Sequence[SourceVideo]) -> Built:
    there = manifest.load(uri)
    if there.settings != settings:
        difference = _difference(uri, there, settings, videos)
        raise UserError(
            f"{uri} exists with other content ({difference}): a data set is never written over, "
            "choose another version"
        )
    rows = _catalogue(uri)
    return _built(uri, there, rows, already_there=True)


def _difference(
    uri: str, there: Manifest, settings: dict[str, Any], videos: Sequence[SourceVideo]
) -> str:
    """Say in a few words what was asked and what is there."""
    parts = []
    for name in sorted(settings.keys() | there.settings.keys()):
        asked, found = settings.get(name), there.settings.get(name)
        if asked == found:
            continue
        if name != "sources_sha256":
            parts.append(f"{name}: asked {asked}, there {found}")
            continue
        old = {row.id: (row.split, row.source_sha256) for row in _catalogue(uri)}
        new = {v.id: (v.split, v.sha256) for v in videos}
        other = [video for video in sorted(old | new) if old.get(video) != new.get(video)]
        parts.append(f"{len(other)} videos, the first is {(other or ['a renamed one'])[0]}")
    return "; ".join(parts)


def _refuse_foreign_files(uri: str) -> None:
    foreign = [name for name in lake.list_files(uri) if not fullmatch(_OURS, name)]
    if foreign:
        raise UserError(
            f"{uri} holds {len(foreign)} files that are no data set's ({foreign[0]}): "
            "give an empty or a new place"
        )


def _write_shards(
    uri: str, config: ShardConfig, shards: Sequence[Shard]
) -> tuple[dict[str, File], list[catalogue.VideoRow]]:
    """Run the job; returns the files and, in the order of the plan, the catalogue's rows."""
    payload: dict[str, File] = {}
    rows: dict[str, tuple[catalogue.VideoRow, ...]] = {}
    rejected: dict[str, str] = {}
    total = sum(len(shard.videos) for shard in shards)
    done_bytes = 0
    with ray_session(config.workers), progress("shard", total, "videos") as shown:
        for written in _job(uri, config, shards):
            rejected |= written.rejected
            if written.path:
                payload[written.path] = File(written.size, written.sha256)
                index = catalogue.index_path(written.shard)
                payload[index] = _write_file(uri, index, written.index)
            rows[written.shard] = written.videos
            done_bytes += written.size
            shown.advance(
                len(written.videos) + len(written.rejected),
                f"{done_bytes / MEGABYTE:.1f} MB, {len(rejected)} rejected",
            )
    if rejected:
        lake.remove_files(uri, list(payload))
        first = "; ".join(rejected[video] for video in sorted(rejected))
        raise UserError(f"{first}: nothing was written, leave out {', '.join(sorted(rejected))}")
    return payload, [row for shard in shards for row in rows[shard.name]]


def _job(uri: str, config: ShardConfig, shards: Sequence[Shard]) -> Iterator[Written]:
    """One Ray Data job, one task a shard; results as they come."""
    kinds = masks.variant_kinds(config.stationary, config.moving)
    tasks = [
        Task(
            output=uri,
            shard=shard,
            width=config.width,
            height=config.height,
            seed=config.seed,
            kinds=kinds,
        ).to_row()
        for shard in shards
    ]
    # Ray warns of workers that can never have work.
    pool = ray.data.TaskPoolStrategy(size=min(config.workers, len(tasks)))
    job = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(
        write_shard, num_cpus=1, compute=pool
    )
    for row in job.iter_rows():
        yield Written.from_row(row)


def _commit(
    uri: str,
    settings: dict[str, Any],
    payload: dict[str, File],
    rows: Sequence[catalogue.VideoRow],
) -> Built:
    """Write what is left, the manifest last: from then on the data set exists."""
    table = catalogue.encode_catalogue(rows)
    payload[catalogue.CATALOGUE] = _write_file(uri, catalogue.CATALOGUE, table)
    lake.remove_files(uri, [name for name in lake.list_files(uri) if name not in payload])
    made = Manifest(settings, payload, manifest.digest_of(settings, payload), _provenance(uri))
    try:
        manifest.create(uri, made)
    except FileExistsError as error:
        if manifest.load(uri).digest != made.digest:
            raise UserError(
                f"another run finished other content at {uri} meanwhile: choose another version"
            ) from error
    return _built(uri, made, rows, already_there=False)


def _built(
    uri: str, made: Manifest, rows: Sequence[catalogue.VideoRow], *, already_there: bool
) -> Built:
    return Built(
        uri=uri,
        digest=made.digest,
        already_there=already_there,
        videos=sum(row.status == catalogue.OK for row in rows),
        frames=sum(row.frames for row in rows),
        bytes=sum(file.size for file in made.payload.values()),
        rejected=sum(row.status != catalogue.OK for row in rows),
    )


def _catalogue(uri: str) -> list[catalogue.VideoRow]:
    return catalogue.decode_catalogue(lake.read_bytes(lake.join(uri, catalogue.CATALOGUE)))


def _write_file(uri: str, path: str, data: bytes) -> File:
    lake.write_bytes(lake.join(uri, path), data)
    return File(len(data), sha256(data).hexdigest())


def _provenance(uri: str) -> dict[str, Any]:
    parts = uri.rstrip("/").split("/")
    return {
        "uri": uri,
        "name": parts[-2],
        "version": parts[-1],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "tools": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{tool: importlib.metadata.version(tool) for tool in _TOOLS},
        },
    }
