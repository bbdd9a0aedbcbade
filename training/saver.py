"""Checkpoints written beside training: from a copy, in a thread of its own, one at a time."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from data_pipeline.door import Refused, UserError, say
from data_pipeline.lease import Claim
from training import checkpoint, parallel
from training.checkpoint import NotOurs, NotWritten

_MOST_FAILURES = 3  # in a row


class Saver:
    """Owns what is being written; `with` it, every rank makes one at the same place.

    A checkpoint that cannot be written is said and passed over: the next may be, and the last good
    one stays. The third in a row ends the run; so does the first when the run is somebody else's.

    Args:
        run_uri: `<storage>/<run>`.
        newest: checkpoints kept, see `checkpoint.kept`.
        every: clips, likewise.
        leader: this rank speaks and deletes what need not stay.
        claim: on the run.
        tell: brings a line to a person.
    """

    def __init__(
        self,
        run_uri: str,
        *,
        newest: int,
        every: int,
        leader: bool,
        claim: Claim | None = None,
        tell: Callable[[str], None] = say,
    ) -> None:
        self._run_uri, self._newest, self._every = run_uri, newest, every
        self._leader, self._claim, self._tell = leader, claim, tell
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
        # After an error other ranks may be gone, and what is being written may wait for them.
        self._thread.shutdown(wait=error is None, cancel_futures=True)
        self._stager.close()

    def save(
        self,
        clips: int,
        tensors: dict[str, Tensor],
        state: Mapping[str, Any],
        score: float | None = None,
    ) -> None:
        """Copy and go on; waits for the one before. Collective; arguments as `checkpoint.save`.

        Raises:
            NotWritten: the third in a row, or the run is not ours any more.
        """
        self._settle(_MOST_FAILURES)
        copies = self._stager.stage(tensors)
        self._writing = self._thread.submit(self._write, clips, copies, dict(state), score)

    def finish(self) -> None:
        """Wait until the last checkpoint is written. Collective.

        Raises:
            NotWritten: it was not.
        """
        self._settle(1)

    def _settle(self, most_failures: int) -> None:
        """See how the one before went; every rank comes to the same end."""
        if self._writing is None:
            return
        try:
            self._writing.result()
            self._failures = 0
        except NotOurs:
            raise
        except NotWritten as error:
            self._failures += 1
            if self._failures >= most_failures:
                before = f", nor were {self._failures - 1} before" if self._failures > 1 else ""
                raise NotWritten(
                    f"{error}{before}: see to the storage, then the same command goes on"
                ) from error
            if self._leader:
                self._tell(f"{error}: the run goes on, the checkpoint before is the newest")
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
                self._tell(f"checkpoints not needed any more are still there: {error}")
