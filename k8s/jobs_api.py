"""Jobs of a Ray cluster through its Jobs API, with or without Kubernetes below.

A connection may break at any time: the job keeps running, and the client connects again.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import final

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from data_pipeline.cli.command import Refused, UserError
from k8s.job_request import JobRequest, check_ray
from k8s.job_state import DONE, RUNNING, SUBMITTED, End

_POLL_S = 1.0
_AWAY_S = 120.0  # a head that has not answered for so long counts as lost

# Ray's answers to the slower of two clients that submit or delete the same job.
_ABSENT = "status code 404"
_RACE_LOST = ("already exists", "non-terminal state", _ABSENT)


@final
class JobsApi:
    """Client of the Jobs API of one Ray cluster."""

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            UserError: no answer, no token or a wrong one, or another version of Ray.
        """
        self.address = address
        # It logs every connection that it opens and closes.
        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
        try:
            self._client = JobSubmissionClient(address)
            # `get_version` is that of the API; Ray's own version is in no public method.
            there = str(self._client._server_ray_version)
        except AuthenticationError as error:
            raise UserError(
                f"Ray at {address} wants a token, and this one is missing or wrong: set "
                "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the cluster's"
            ) from error
        except (ConnectionError, requests.RequestException) as error:
            raise UserError(
                f"no Ray cluster answers at {address}: start it, or forward its port 8265"
            ) from error
        check_ray(there, f"the cluster at {address} runs")

    def submit(self, job: JobRequest, working_dir: str = "", *, once: bool = True) -> str:
        """Submit a job unless it runs already, or has succeeded.

        Args:
            job: the job.
            working_dir: folder to upload and run in.
            once: a job that has succeeded is not run again.

        Returns:
            `SUBMITTED`, `RUNNING` or `DONE`.

        Raises:
            Refused: another job of this name runs.
        """
        while True:
            try:
                return self._submitted(job, working_dir, once=once)
            except RuntimeError as error:
                if not any(words in str(error) for words in _RACE_LOST):
                    raise
                # Another client submitted it, or deleted its predecessor, at the same moment.
                time.sleep(_POLL_S)

    def _submitted(self, job: JobRequest, working_dir: str, *, once: bool) -> str:
        known = self.find(job.name)
        if known is not None:
            same = known.entrypoint == job.entrypoint
            if not known.status.is_terminal():
                if same:
                    return RUNNING
                raise Refused(
                    f"{job.name} runs already, as another job: {known.entrypoint!r}, and this is "
                    f"{job.entrypoint!r}. Wait for it or stop it (--cancel), or give this one "
                    "another name"
                )
            if same and once and known.status == JobStatus.SUCCEEDED:
                return DONE
            # Work done so far is not lost: the command finds it again.
            self._client.delete_job(job.name)
        self._client.submit_job(
            entrypoint=job.entrypoint,
            submission_id=job.name,
            runtime_env={"working_dir": working_dir} if working_dir else None,
        )
        return SUBMITTED

    def find(self, name: str) -> JobDetails | None:
        """Return a job by its name; None where there is none."""
        try:
            return self._client.get_job_info(name)
        except RuntimeError as error:
            if _ABSENT in str(error):
                return None
            raise

    def get(self, name: str) -> JobDetails:
        """Return a job by its name.

        Raises:
            UserError: there is none; the message lists those that exist.
        """
        found = self.find(name)
        if found is None:
            names = sorted(
                one.submission_id for one in self._client.list_jobs() if one.submission_id
            )
            raise UserError(
                f"there is no job {name!r} at {self.address}; there are: "
                f"{', '.join(names) or 'none'}"
            )
        return found

    def stop(self, name: str) -> bool:
        """Stop a job; False where it had ended already."""
        return not self.get(name).status.is_terminal() and self._client.stop_job(name)

    def follow(self, name: str, write: Callable[[str], object]) -> End:
        """Write the log of a job, from its beginning, until the job ends.

        Raises:
            Refused: the head has not answered for two minutes; the job may run.
        """
        shown, answered = _Shown(write), time.monotonic()
        while True:
            try:
                asyncio.run(self._tail(name, shown))
                found = self._client.get_job_info(name)
                if found.status.is_terminal():
                    shown.rest(self._client.get_job_logs(name))
                    return _end(name, found)
                answered = time.monotonic()
            except (RuntimeError, OSError, requests.RequestException) as error:
                if time.monotonic() - answered > _AWAY_S:
                    raise Refused(
                        f"Ray at {self.address} has not answered for {_AWAY_S:.0f} s ({error}): "
                        f"{name} may run still, or be lost with its head"
                    ) from error
            time.sleep(_POLL_S)

    async def _tail(self, name: str, shown: "_Shown") -> None:
        shown.again()
        async for piece in self._client.tail_job_logs(name):
            shown.add(piece)


@final
class _Shown:
    """Position in a log: each connection sends it again from its first character."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._written = 0
        self._seen = 0

    def again(self) -> None:
        self._seen = 0

    def add(self, piece: str) -> None:
        self._seen += len(piece)
        fresh = self._seen - self._written
        if fresh > 0:
            self._write(piece[-fresh:])
            self._written = self._seen

    def rest(self, whole: str) -> None:
        self._seen = 0
        self.add(whole)


def _end(name: str, job: JobDetails) -> End:
    code = job.driver_exit_code
    if job.status == JobStatus.SUCCEEDED:
        return End("SUCCEEDED", f"{name} is done", 0)
    if job.status == JobStatus.STOPPED:
        return End("STOPPED", f"{name} was stopped before it was done", 1)
    if code:
        return End("FAILED", f"{name} ended with exit code {code}; its log says why", code)
    said = " ".join((job.message or "no reason given").split())
    return End("FAILED", f"{name} failed without an exit code of its own: {said}", 1)
