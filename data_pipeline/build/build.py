"""Builds a whole data set: find videos, plan shards, one Ray Data job, tables, manifest last."""

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from re import fullmatch
from typing import Any

import ray.data

from data_pipeline.build import remarks
from data_pipeline.build.job_progress import Reporter, collect_progress
from data_pipeline.build.settings import packed_tasks, settings_of
from data_pipeline.build.tasks import PackedTask, ShardResult, Task
from data_pipeline.build.writer import write_shard
from data_pipeline.cli import errors
from data_pipeline.cli.command import UserError
from data_pipeline.cli.progress import progress
from data_pipeline.cli.ray_session import ray_session
from data_pipeline.cli.rejection import Budget
from data_pipeline.config import ShardConfig
from data_pipeline.format import catalogue, croissant, manifest
from data_pipeline.format.manifest import File, Manifest
from data_pipeline.format.provenance import commit
from data_pipeline.sources.find import find_videos
from data_pipeline.sources.record import SourceVideo
from data_pipeline.storage import lake
from data_pipeline.storage.lease import lease

_TOOLS = ("av", "numpy", "pillow", "pyarrow", "ray")
# Long enough for a store that does not answer for a while; on one host a dead run is seen at once.
_LEASE_S = 120.0
_TOO_MANY_BAD = (
    "{bad} of {videos} videos cannot be used ({first}), more than --max-rejected {share} allows: "
    "nothing was committed; mend or leave out the videos, or allow more"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """Result of a build."""

    uri: str
    """URI of the data set."""
    digest: str
    """Digest of the data set."""
    already_there: bool
    """True when nothing had to be done."""
    videos: int
    """Videos in the data set."""
    frames: int
    """Frames in the data set."""
    bytes: int
    """Size of all files but the manifest."""
    rejected: int
    """Videos left out; the catalogue says why."""
    remarks: tuple[str, ...]
    """Warnings about the data set, one line each."""


def build(config: ShardConfig) -> BuildResult:
    """Build the data set that `config` describes, resume its build, or find that it is there.

    Raises:
        UserError: an input cannot be used, or something else is at the output.
        Refused: too many videos are bad, somebody else is writing there, the disk is full, or the
            store does not answer; what is done already is kept for the next run.
    """
    uri = lake.absolute(config.output)
    parents = {lake.absolute(parent): manifest.load(parent).digest for parent in config.parents}
    new = not manifest.exists(uri)
    if new:
        _refuse_foreign_files(uri)
    with ray_session(config.workers):
        videos = find_videos(config)
        settings = settings_of(config, videos)
        written = new and _write(uri, config, settings, videos, parents)
    there = manifest.load(uri)
    shapes = remarks.other_shapes(there, _catalogue(uri))
    settings = remarks.with_fit(settings, config.chosen_fit, shapes)
    if there.settings != settings:
        difference = _difference(uri, there, settings, videos)
        raise UserError(
            f"{uri} exists with other content ({difference}): a data set is never written over, "
            "choose another version"
        )
    _tidy(uri)
    return _built(uri, there, already_there=not written)


def _write(
    uri: str,
    config: ShardConfig,
    settings: dict[str, Any],
    videos: Sequence[SourceVideo],
    parents: dict[str, str],
) -> bool:
    """Write a data set where there is none; False when somebody else was quicker."""
    budget = Budget(len(videos), config.max_rejected, _TOO_MANY_BAD)
    budget.count({v.id: f"{v.name} {v.bad}" for v in videos if v.bad})
    folder = lake.join(uri, manifest.LEASE)
    with lease(folder, what=f"data set {uri}", seconds=_LEASE_S) as held:
        if manifest.exists(uri):  # finished while this one waited for the lease
            return False
        shards = _write_shards(uri, config.workers, packed_tasks(config, videos), budget)
        notes = remarks.found(shards)
        settings = remarks.with_fit(settings, config.chosen_fit, notes["other_shape"])
        made = _complete(uri, settings, shards, parents, notes)
        held.check()
        try:
            manifest.create(uri, made)
        except FileExistsError:
            return False
    return True


def _tidy(uri: str) -> None:
    """Delete what builds left beside a finished data set: work files and partial files."""
    partial = [file.name for file in lake.list_partial_files(uri)]
    lake.remove_files(uri, [*partial, *filter(manifest.is_work, lake.list_files(uri))])


def _difference(
    uri: str, there: Manifest, settings: dict[str, Any], videos: Sequence[SourceVideo]
) -> str:
    """Say in a few words how the requested settings differ from those that are there."""
    wanted, found = _flat(settings), _flat(there.settings)
    differing = [name for name in sorted(wanted | found) if wanted.get(name) != found.get(name)]
    parts = [
        f"{name}: requested {wanted.get(name)}, found {found.get(name)}"
        for name in differing
        if name != "sources_sha256"
    ]
    if "sources_sha256" in differing:
        old = {row.id: (row.split, row.source_name, row.source_bytes) for row in _catalogue(uri)}
        new = {v.id: (v.split, v.name, v.bytes) for v in videos}
        other = [video for video in sorted(old | new) if old.get(video) != new.get(video)]
        parts.append(f"{len(other)} videos, the first is {(other or ['one of other length'])[0]}")
    return "; ".join(parts)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without groups: `masks.moving`, ..."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": v for inner, v in value.items()}
        else:
            flat[name] = value
    return flat


def _refuse_foreign_files(uri: str) -> None:
    foreign = [name for name in lake.list_files(uri) if not fullmatch(manifest.PARTS, name)]
    if foreign:
        raise UserError(
            f"{uri} holds {len(foreign)} files that are no data set's ({foreign[0]}): "
            "give an empty or a new place"
        )


def _write_shards(
    uri: str, workers: int, tasks: Sequence[PackedTask], budget: Budget
) -> list[ShardResult]:
    """Run the job over the shards that are not done yet; return all, in the order of the plan."""
    done = _done(uri, tasks)
    for written in done.values():
        budget.count(written.rejected)
    missing = [task for task in tasks if task.shard not in done]
    if missing:
        start = sum(len(written.videos) for written in done.values())
        with (
            progress("shard", budget.videos, "videos", start=start) as shown,
            collect_progress(shown) as reporter,
        ):
            for written in _job(uri, workers, missing, reporter):
                budget.count(written.rejected)
                done[written.shard] = written
    return [done[task.shard] for task in tasks]


def _done(uri: str, tasks: Sequence[PackedTask]) -> dict[str, ShardResult]:
    """Results of the shards that an interrupted run has finished already, by shard."""
    there = {entry.name: entry.size for entry in lake.list_entries(uri)}
    done = {}
    for task in tasks:
        if task.note in there:
            written = ShardResult.decode(lake.read_bytes(lake.join(uri, task.note)))
            if all(there.get(path) == file.size for path, file in written.payload.items()):
                done[task.shard] = written
    return done


def _job(
    uri: str, workers: int, tasks: Sequence[PackedTask], reporter: Reporter
) -> Iterator[ShardResult]:
    """Run one Ray Data job with a task for each shard; yield results as they come."""
    # Ray warns of workers that can never have work.
    pool = ray.data.TaskPoolStrategy(size=min(workers, len(tasks)))
    rows = [{"output": uri, "note": task.note, "task": task.data} for task in tasks]
    job = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        partial(_run, reporter=reporter), num_cpus=1, compute=pool
    )
    for row in job.iter_rows():
        if row["error"]:
            raise errors.decode(row["error"])
        yield ShardResult.decode(row["written"])


def _run(row: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Write one shard: the function that Ray Data maps over the plan. Errors travel as data."""
    error, written = "", b""
    try:
        written = write_shard(Task.decode(row["task"]), row["output"], reporter).encode()
        lake.write_bytes(lake.join(row["output"], row["note"]), written)
    except Exception as wrong:
        error = errors.encode(wrong)
    return {"error": error, "written": written}


def _complete(
    uri: str,
    settings: dict[str, Any],
    shards: Sequence[ShardResult],
    parents: dict[str, str],
    notes: dict[str, Any],
) -> Manifest:
    """Write all but the manifest, and remove files that are no part of the data set."""
    rows = [row for written in shards for row in written.videos]
    payload = {path: file for written in shards for path, file in written.payload.items()}
    table = catalogue.encode_catalogue(rows)
    payload[catalogue.CATALOGUE] = _write_file(uri, catalogue.CATALOGUE, table)
    described = croissant.encode(settings, payload, rows)
    payload[croissant.CROISSANT] = _write_file(uri, croissant.CROISSANT, described)
    stray = [n for n in lake.list_files(uri) if n not in payload and not manifest.is_work(n)]
    lake.remove_files(uri, stray)
    details = {video: text for written in shards for video, text in written.details.items()}
    provenance = _provenance(uri) | {"parents": parents, "rejected": details, **notes}
    return Manifest(settings, payload, manifest.digest_of(settings, payload), provenance)


def _built(uri: str, made: Manifest, *, already_there: bool) -> BuildResult:
    rows = _catalogue(uri)
    return BuildResult(
        uri=uri,
        digest=made.digest,
        already_there=already_there,
        videos=sum(row.status == catalogue.OK for row in rows),
        frames=sum(row.frames for row in rows),
        bytes=sum(file.size for file in made.payload.values()),
        rejected=sum(row.status != catalogue.OK for row in rows),
        remarks=remarks.remarks(made, rows),
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
