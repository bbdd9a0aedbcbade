"""Asynchronous checkpoints: written from a copy, in a thread, one at a time."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from data_pipeline.cli.command import Refused, UserError, say
from data_pipeline.storage.lease import Claim
from training.checkpoints import checkpoint
from training.checkpoints.checkpoint import NotOurs, NotWritten
from training.learn import parallel

_MAX_FAILURES = 3  # in a row


class Saver:
    """Writes checkpoints while training continues; a context manager, made on all ranks together.

    A checkpoint that cannot be written is reported and skipped: the last good one stays. The third
    failure in a row ends the run; so does the first when another driver has the run now.

    Args:
        run_uri: `<storage>/<run>`.
        newest: checkpoints kept, see `checkpoint.kept`.
        every: clips, likewise.
        leader: this rank reports, and deletes checkpoints that need not stay.
        claim: on the run.
        report: shows a line to a person.
    """

    def __init__(
        self,
        run_uri: str,
        *,
        newest: int,
        every: int,
        leader: bool,
        claim: Claim | None = None,
        report: Callable[[str], None] = say,
    ) -> None:
        self._run_uri, self._newest, self._every = run_uri, newest, every
        self._leader, self._claim, self._report = leader, claim, report
        self._group = parallel.second_group()
        # Copies into the same memory each time: new pages would cost more than the copying.
        self._stager = DefaultStager(StagingOptions(False, False, False, False))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._failures = 0

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Numbers that are not finite are raised on every rank at the same place: what is being
        # written gets its end, and is the checkpoint to resume from. After any other error other
        # ranks may be gone, and what is being written may wait for them.
        together = error is None or isinstance(error, FloatingPointError)
        self._thread.shutdown(wait=together, cancel_futures=not together)
        self._stager.close()

    def save(
        self,
        clips: int,
        tensors: dict[str, Tensor],
        state: Mapping[str, Any],
        score: float | None = None,
    ) -> None:
        """Copy the tensors and return; waits for the checkpoint before. Collective.

        Args: as of `checkpoint.save`.

        Raises:
            NotWritten: the third failure in a row, or another driver has the run now.
        """
        self._settle(_MAX_FAILURES)
        copies = self._stager.stage(tensors)
        self._writing = self._thread.submit(self._write, clips, copies, dict(state), score)

    def finish(self) -> None:
        """Wait until the last checkpoint is written. Collective.

        Raises:
            NotWritten: it was not.
        """
        self._settle(1)

    def _settle(self, max_failures: int) -> None:
        """Look at the result of the checkpoint before; the same on every rank."""
        if self._writing is None:
            return
        try:
            self._writing.result()
            self._failures = 0
        except NotOurs:
            raise
        except NotWritten as error:
            self._failures += 1
            if self._failures >= max_failures:
                before = f", nor were {self._failures - 1} before" if self._failures > 1 else ""
                raise NotWritten(
                    f"{error}{before}: see to the storage, then the same command resumes"
                ) from error
            if self._leader:
                self._report(f"{error}: training continues, the checkpoint before is the newest")
        finally:
            self._writing = None

    def _write(
        self, clips: int, copies: Any, state: Mapping[str, Any], score: float | None
    ) -> None:
        checkpoint.save(
            self._run_uri, clips, copies, state, score=score, group=self._group, claim=self._claim
        )
        if self._leader:
            try:
                checkpoint.prune(self._run_uri, self._newest, self._every)
            except (OSError, Refused, UserError) as error:
                self._report(f"checkpoints not needed any more are still there: {error}")
