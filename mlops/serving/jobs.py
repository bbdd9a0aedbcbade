"""Jobs of the service: they wait, are filled, and are kept for a while.

Each unfinished job is a task of asyncio that waits for a process with its version; which job comes
when is up to `Models`. A job's record is written whenever its state changes, so that a service
that was ended in any way goes on with the jobs that it finds.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import final

from data_pipeline.cli.command import Refused, UserError
from data_pipeline.cli.rejection import MAX_WORKER_DEATHS
from data_pipeline.storage.store import DiskFull
from mlops.serving.filling_order import Done, Order
from mlops.serving.models import Lost, Models
from mlops.serving.problems import Problem, disk_is_full, fields_for_flags
from mlops.serving.records import Job, State
from mlops.serving.store import Store

LOG = logging.getLogger("sttn.service")
RETRY_AFTER_S = 30


@final
class Jobs:
    """All jobs of a store."""

    def __init__(self, store: Store, models: Models, limit: int) -> None:
        self._store, self._models, self._limit = store, models, limit
        self._jobs = {job.id: job for job in store.jobs()}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.finished: Counter[State] = Counter()
        """Jobs that came to an end since the service was started."""
        self.frames = 0
        """Frames filled since then."""

    def resume(self) -> None:
        """Go on with the jobs that an earlier service did not finish."""
        for job in self._jobs.values():
            if not job.state.is_final:
                self._start(job)

    async def stop(self) -> None:
        """End the work under way; it is gone on with when the service is started again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            Problem: there is none.
        """
        if job_id not in self._jobs:
            raise Problem(404, f"there is no job {job_id!r} here, or not any more")
        return self._jobs[job_id]

    def expires(self, job: Job) -> float:
        """Return when a job goes, seconds since 1970; 0 while it is not finished."""
        return job.finished + self._store.keep_s if job.state.is_final else 0.0

    def unfinished(self) -> Iterator[Job]:
        """Give the jobs that wait or are being filled."""
        return (job for job in self._jobs.values() if not job.state.is_final)

    def refuse_full(self) -> None:
        """Refuse another job where too many wait.

        Raises:
            Problem: they do.
        """
        waiting = sum(1 for _ in self.unfinished())
        if waiting >= self._limit:
            raise Problem(
                429,
                f"{waiting} jobs are not finished yet, and no more are taken: try again later",
                {"Retry-After": str(RETRY_AFTER_S)},
            )

    def add(self, job: Job) -> None:
        """Take a job whose files are in its folder.

        Raises:
            Problem: too many wait.
            DiskFull: there is no room for its record.
        """
        self.refuse_full()
        self._store.write_job(job)
        self._jobs[job.id] = job
        self._start(job)

    async def cancel(self, job: Job) -> None:
        """End the work on a job, or remove one that is finished."""
        if job.state.is_final:
            self._remove(job)
            return
        self._finish(job, State.CANCELLED)
        if (task := self._tasks.get(job.id)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def remove_old(self) -> None:
        """Remove jobs whose time is over, and videos that no job needs."""
        for job in list(self._jobs.values()):
            if job.state.is_final and self.expires(job) < time.time():
                self._remove(job)
        self._store.remove_old({job.video for job in self.unfinished()})

    def _remove(self, job: Job) -> None:
        del self._jobs[job.id]
        self._store.remove_job(job.id)

    def _start(self, job: Job) -> None:
        task = asyncio.create_task(self._run(job), name=f"job {job.id}")
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))

    async def _run(self, job: Job) -> None:
        """Fill a job's video; every error ends the job, and nothing else."""
        try:
            while True:
                try:
                    return await self._fill(job)
                except Lost as error:
                    job.deaths += 1
                    if job.deaths >= MAX_WORKER_DEATHS:
                        reason = f"{error}, {job.deaths} times"
                        return self._finish(job, State.FAILED, reason)
                    self._write(job)
        except DiskFull:
            self._finish(job, State.FAILED, disk_is_full().detail)
        except (UserError, Refused, Problem) as error:
            self._finish(job, State.FAILED, fields_for_flags(str(error)))
        except Exception:
            LOG.exception("job %s", job.id)
            reason = "the service made a mistake; its log says more"
            self._finish(job, State.FAILED, reason)

    async def _fill(self, job: Job) -> None:
        folder = self._store.job_folder(job.id)
        mask = folder / job.mask
        order = Order(
            video=self._store.source(self._store.video(job.video)),
            mask=str(mask) if mask.exists() else job.mask,
            out=folder / job.result,
            filling=job.filling,
        )
        async for news in self._models.fill(job.model, order):
            if isinstance(news, Done):
                job.frames = job.frames_done = news.frames
                job.result_bytes, job.hole_share = news.result_bytes, news.hole_share
                job.remarks = list(news.remarks)
                self._finish(job, State.DONE)
                return
            if job.state is State.QUEUED:
                job.state, job.began = State.RUNNING, time.time()
                self._write(job)
            self.frames += max(0, news - job.frames_done)
            job.frames_done = news

    def _finish(self, job: Job, state: State, reason: str = "") -> None:
        if job.state.is_final:
            return  # cancelled meanwhile
        job.state, job.reason, job.finished = state, reason, time.time()
        self.finished[state] += 1
        self._write(job)
        LOG.info("job %s: %s %s %s", job.id, state, job.model, reason)

    def _write(self, job: Job) -> None:
        """Write a job's record; where the disk does not take it, it is known until the end."""
        with suppress(DiskFull):
            self._store.write_job(job)
