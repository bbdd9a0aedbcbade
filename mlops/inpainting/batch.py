"""Fills many videos with one version: one Ray Data job, the manifest last.

OUT belongs to one batch: the same INPUTS, --masks, options and version. While it works there is a
note below OUT/_work for each video that is done; at the end come results.parquet, then
manifest.json. So

- the same command goes on after a kill, and does nothing when all is done;
- a video or mask that was changed, added or rejected is filled when the command is given again;
- outputs of videos that are not among INPUTS any more stay, and have no row;
- with other options or another version a finished OUT is refused, and its manifest says what it
  holds; without a manifest, after a kill say, what differs is filled again, so that in the end one
  version made all outputs;
- a folder that holds files of the same names from elsewhere is refused.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy

from data_pipeline.cli import errors
from data_pipeline.cli.canonical import canonical_json, sha256_of_json
from data_pipeline.cli.command import say
from data_pipeline.cli.progress import progress
from data_pipeline.cli.ray_session import actor_beside_driver, check, ray_session
from data_pipeline.cli.rejection import Budget, Tries
from data_pipeline.storage import lake
from data_pipeline.storage.lease import lease
from mlops.config import InpaintBatchConfig
from mlops.inpainting import batch_results
from mlops.inpainting.batch_actor import ERROR, JOB, RESULT, BatchTask, FillingActor
from mlops.inpainting.batch_checks import check_outputs, refuse_other
from mlops.inpainting.batch_inputs import Found, Job, absolute_masks, of_folder, shared
from mlops.inpainting.batch_results import (
    ALREADY,
    LEASE,
    MANIFEST,
    OK,
    REJECTED,
    RESULTS,
    SCHEMA,
    WORK,
    Result,
)
from mlops.inpainting.batch_table import is_table, of_table
from mlops.tracking import registry
from mlops.tracking.registry import Version

# Long enough for a store that does not answer for a while; on one host a dead run is seen at once.
_LEASE_S = 120.0
_TOO_MANY_BAD = (
    "{bad} of {videos} videos cannot be filled ({first}), more than --max-rejected {share} allows: "
    "outputs that are made stay; mend or leave out these videos, or allow more, and run the same "
    "command again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Result of the command."""

    out: str
    """URI of OUT."""
    model: str
    """models:/NAME/NUMBER."""
    rows: tuple[Result, ...]
    """In the order of the inputs."""
    passed_over: int
    """Files of INPUTS that are no videos by their names."""
    seconds: float

    def count(self, status: str) -> int:
        """Count the videos of a status."""
        return sum(row.status == status for row in self.rows)

    def in_words(self) -> str:
        """In a line, for people."""
        videos = f"{len(self.rows)} video{'s' if len(self.rows) != 1 else ''}"
        parts = [f"{self.count(OK)} written"]
        if already := self.count(ALREADY):
            parts.append(f"{already} there already")
        bad = [row for row in self.rows if row.status == REJECTED]
        if bad:
            parts.append(f"{len(bad)} rejected (first: {bad[0].video} {bad[0].reason})")
        return (
            f"{videos}: {', '.join(parts)}, by {self.model} in {self.seconds:.1f} s; "
            f"{lake.join(self.out, RESULTS)}"
        )

    def as_json(self) -> dict[str, Any]:
        """For a line of JSON."""
        return {
            "out": self.out,
            "model": self.model,
            "results": lake.join(self.out, RESULTS),
            "videos": len(self.rows),
            "written": self.count(OK),
            "already": self.count(ALREADY),
            "rejected": {row.video: row.reason for row in self.rows if row.status == REJECTED},
            "passed_over": self.passed_over,
            "seconds": self.seconds,
        }


def inpaint_batch(config: InpaintBatchConfig, uri: str) -> Batch:
    """Fill all videos of a batch, go on with it, or find that it is done.

    Args:
        config: of the command.
        uri: tracking URI, absolute.

    Raises:
        UserError: inputs, masks, outputs, version and options do not fit each other; or OUT holds
            something else.
        Refused: too many videos are rejected, somebody else is writing there, the disk is full, a
            store does not answer, or the version cannot be used; outputs that are made stay.
    """
    began = time.monotonic()
    out = lake.absolute(config.out)
    found = _find(config)
    check_outputs(config, out, found.jobs)
    say(found.in_words(config.inputs))
    version = registry.resolve(uri, config.version)
    settings = _settings(config, version)
    task = BatchTask(
        tracking_uri=uri,
        version=version,
        out=out,
        filling=config.filling,
        flows=any(job.flows for job in found.jobs),
        settings_sha256=sha256_of_json(settings),
    )
    there = lake.list_entries(out)
    refuse_other(out, settings, found.jobs, there)
    check()
    with lease(lake.join(out, LEASE), what=f"OUT {out}", seconds=_LEASE_S) as held:
        rows = _rows(config, task, found.jobs)
        batch = Batch(
            out=out,
            model=version.uri,
            rows=tuple(rows),
            passed_over=len(found.passed_over),
            seconds=time.monotonic() - began,
        )
        held.check()
        _complete(batch, settings)
    _tidy(out, found.jobs)
    return batch


def _find(config: InpaintBatchConfig) -> Found:
    """List the videos of INPUTS with what belongs to them."""
    given = shared(config.masks, config.truth, config.flows, config.compare)
    uri = lake.absolute(config.inputs)
    return of_table(uri, given) if is_table(uri) else of_folder(uri, given)


def _settings(config: InpaintBatchConfig, version: Version) -> dict[str, Any]:
    """Return everything that decides what OUT holds, but for the files themselves."""
    return {
        "inputs": lake.absolute(config.inputs),
        "masks": absolute_masks(config.masks),
        "truth": config.truth and lake.absolute(config.truth),
        "flows": config.flows and lake.absolute(config.flows),
        "compare": config.compare,
        "model": version.uri,
        # A version of the same number in another registry is another one.
        "model_files": version.source,
        **asdict(config.filling),
    }


def _rows(config: InpaintBatchConfig, task: BatchTask, jobs: Sequence[Job]) -> list[Result]:
    """Fill the videos that are not done yet; return all rows, in the order of the inputs."""
    identities = [task.identity(job) for job in jobs]
    done = batch_results.finished(task.out, lake.list_entries(task.out))
    budget = Budget(len(jobs), config.max_rejected, _TOO_MANY_BAD)
    rows = {identity: done[identity] for identity in identities if identity in done}
    missing: list[Job] = []
    for job, identity in zip(jobs, identities, strict=True):
        if job.bad:
            rows[identity] = task.rejected(job, job.bad)
            budget.count(_wrong(rows[identity]))
        elif identity not in rows:
            missing.append(job)
    if missing:
        with (
            ray_session(config.workers),
            progress("inpaint", len(jobs), "videos", start=len(rows)) as bar,
        ):
            for row in _job(config, task, missing):
                rows[row.identity] = row
                if row.status == REJECTED:
                    budget.count(_wrong(row))
                bar.advance(note=f"{len(budget.rejected)} rejected")
    return [rows[identity] for identity in identities]


def _wrong(row: Result) -> dict[str, str]:
    return {row.video: f"{row.video} {row.reason}"}


def _job(config: InpaintBatchConfig, task: BatchTask, jobs: Sequence[Job]) -> Iterator[Result]:
    """Run one Ray Data job with a row a video, the largest first; yield results as they come."""
    # So that no worker is left alone with a long one at the end.
    ordered = sorted(jobs, key=lambda job: -job.video.bytes if job.video else 0)
    items = [{JOB: job.encode()} for job in ordered]
    gpu = bool(ray.cluster_resources().get("GPU"))  # type: ignore[no-untyped-call]
    workers = min(config.workers, len(items))
    tries = actor_beside_driver(Tries)
    try:
        job = ray.data.from_items(items, override_num_blocks=len(items)).map(
            FillingActor,  # type: ignore[arg-type]  # Ray's hint forgets that it takes a class
            fn_constructor_args=(task, tries, workers),
            compute=ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=1 if gpu else 0,
        )
        for row in job.iter_rows():
            if row[ERROR]:
                raise errors.decode(row[ERROR])
            yield Result.decode(row[RESULT])
    finally:
        ray.kill(tries)


def _complete(batch: Batch, settings: dict[str, Any]) -> None:
    """Write the table, then the manifest; nothing where both say the same already."""
    if batch_results.read_manifest(batch.out) and _same(
        batch_results.read_table(batch.out), [*batch.rows]
    ):
        return
    table = batch_results.encode_table(batch.rows)
    lake.write_bytes(lake.join(batch.out, RESULTS), table)
    counts: dict[str, int] = {one: batch.count(one) for one in (OK, ALREADY, REJECTED)}
    manifest = {
        "schema": SCHEMA,
        "settings": settings,
        "model": batch.model,
        "counts": {"videos": len(batch.rows), **counts, "passed_over": batch.passed_over},
        "results_sha256": sha256(table).hexdigest(),
    }
    lake.write_bytes(lake.join(batch.out, MANIFEST), canonical_json(manifest) + b"\n")


def _same(before: Sequence[Result], now: Sequence[Result]) -> bool:
    """Return True when every output of a table is there already, and nothing else is."""
    return all(row.status == ALREADY for row in now) and now == [
        replace(row, status=ALREADY) for row in before
    ]


def _tidy(out: str, jobs: Sequence[Job]) -> None:
    """Delete notes, the lease, and parts of outputs whose worker was killed."""
    outs = {path for job in jobs for path in job.outputs}
    parts = [one.name for one in lake.list_partial_files(out) if _target(one.name) in outs]
    notes = [name for name in lake.list_files(out) if name.startswith(f"{WORK}/")]
    lake.remove_files(out, [*parts, *notes])


def _target(part: str) -> str:
    """Return the path of the output that a partial file was to become."""
    folder, separator, name = part.rpartition("/")
    return folder + separator + re.sub(r"^\.(.+)\.[0-9a-f]{8}\.part$", r"\1", name)
