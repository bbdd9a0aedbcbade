"""Work of one actor of a batch: holds one loaded version and fills videos with it.

In a module of its own, because Ray ships what is defined in a command (`__main__`) by value.
"""

import hashlib
import io
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import cv2
import ray

from data_pipeline.cli import errors
from data_pipeline.cli.canonical import sha256_of_json
from data_pipeline.cli.command import Refused, UserError
from data_pipeline.cli.rejection import MAX_WORKER_DEATHS
from data_pipeline.cli.scratch import scratch_folder
from data_pipeline.storage import disk, lake
from data_pipeline.tracking.store_errors import translated
from mlops.config import Filling, InpaintConfig
from mlops.evaluation.truth import MODEL, PROPAGATION, TELEA
from mlops.inpainting.batch_inputs import Job
from mlops.inpainting.batch_results import OK, REJECTED, SEGMENTS, Result, note_of
from mlops.inpainting.footage_files import Footage, on_disk
from mlops.inpainting.inpaint import Inpainted, check_model, fill, prepared
from mlops.inpainting.segments import Place
from mlops.tracking import names
from mlops.tracking.loaded_model import LoadedModel, load
from mlops.tracking.registry import Version

# Keys of the rows that an actor takes and answers.
JOB = "job"
RESULT = "result"
ERROR = "error"

_LOADING = ""  # counted as a video would be, whose output has a name

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTask:
    """What all videos of a batch have in common; the arguments of an actor."""

    tracking_uri: str
    version: Version
    """Version to load; the only one in the process."""
    out: str
    """URI of OUT."""
    filling: Filling
    flows: bool
    """True when some video has optical flow of its own."""
    settings_sha256: str
    """Hash of everything that decides what the outputs are, but for videos and masks."""

    def identity(self, job: Job) -> str:
        """Hash all that decides what the output of a video is."""
        given = [one and one.stamp() for one in (job.video, job.truth, job.flows)]
        mask = job.mask.stamp() if isinstance(job.mask, Footage) else job.mask
        return sha256_of_json([self.settings_sha256, job.name, mask, *given, *job.outputs])

    def place(self, job: Job) -> Place:
        """Where segments of a long video are kept while it is worked."""
        return Place(uri=lake.join(self.out, SEGMENTS, job.out), identity=self.identity(job))

    def rejected(self, job: Job, reason: str) -> Result:
        """Return the row of a video that cannot be filled."""
        return Result(
            video=job.name,
            mask=_name(job.mask),
            out=job.out,
            status=REJECTED,
            reason=" ".join(reason.split()),
            model=self.version.uri,
            weights_sha256=self.weights_sha256,
            identity=self.identity(job),
        )

    @property
    def weights_sha256(self) -> str:
        """Hash of the version's weights, "" where it is not tagged with it."""
        return self.version.tags.get(names.WEIGHTS_SHA256, "")


@final
class FillingActor:
    """Fills one video a row. Answers what went wrong as data.

    Ray would wrap the exception, print it several times, and try again what cannot work.
    """

    def __init__(self, task: BatchTask, tries: Any, workers: int) -> None:
        self._task, self._tries = task, tries
        self._wrong = ""
        cv2.setNumThreads(1)  # of this process's one CPU
        deaths: int = ray.get(tries.begin.remote(_LOADING))  # or living workers that load it too
        try:
            if deaths >= MAX_WORKER_DEATHS * workers:
                raise Refused(f"{task.version.uri} ended its process again and again when loaded")
            with translated(task.tracking_uri):
                self._model: LoadedModel = load(task.tracking_uri, task.version)
            check_model(self._model, task.filling, flows=task.flows)
        except Exception as error:
            self._wrong = errors.encode(error)
        finally:
            tries.end.remote(_LOADING)

    def __call__(self, row: Row) -> Row:
        """Fill the video of a row; an error is one of the whole batch, not of the video."""
        if self._wrong:
            return {RESULT: b"", ERROR: self._wrong}
        try:
            return _answer(self._tried(Job.decode(row[JOB])))
        except Exception as error:  # Refused: no room, no store, or a model that answers nonsense
            return {RESULT: b"", ERROR: errors.encode(error)}

    def _tried(self, job: Job) -> Result:
        """Fill a video, unless it ended its worker again and again."""
        # That is at the same place each time; a long video that came further is tried once more.
        attempt = f"{job.out} {self._task.place(job).count()}"
        deaths: int = ray.get(self._tries.begin.remote(attempt))
        try:
            if deaths >= MAX_WORKER_DEATHS:
                return self._task.rejected(job, f"ended its worker {deaths} times")
            return self._result(job)
        finally:
            self._tries.end.remote(attempt)

    def _result(self, job: Job) -> Result:
        """Fill a video and leave a note that it is done; or say why it cannot be.

        Raises:
            Refused: not because of this video.
        """
        try:
            made = self._made(job)
        except Refused:
            raise
        except UserError as error:
            return self._task.rejected(job, str(error))
        except Exception as error:
            return self._task.rejected(job, errors.said(error))
        note = lake.join(self._task.out, note_of(made.identity))
        lake.write_bytes(note, made.encode())
        return made

    def _made(self, job: Job) -> Result:
        """Fill a video and write its outputs."""
        task = self._task
        assert job.video is not None
        assert not job.bad
        began = time.monotonic()
        with ExitStack() as stack:
            local = {
                one.uri: str(stack.enter_context(on_disk(one)))
                for one in job.read
                if one is not job.flows
            }
            out, *beside = [
                stack.enter_context(_output(lake.join(task.out, path))) for path in job.outputs
            ]
            said = stack.enter_context(redirect_stdout(io.StringIO()))
            stack.enter_context(redirect_stderr(io.StringIO()))  # its bar, which is one of many
            config = InpaintConfig(
                video=local[job.video.uri],
                mask=local.get(_name(job.mask), _name(job.mask)),
                out=out.path,
                model=task.version.uri,
                tracking_uri=task.tracking_uri,
                filling=task.filling,
                flows=job.flows.uri if job.flows else "",
                compare=beside[0].path if beside else None,
                truth=local[job.truth.uri] if job.truth else "",
            )
            known = {path: uri for uri, path in local.items()}
            done = _filled(config, task.version, self._model, task.place(job), known)
            for one in (*beside, out):
                one.finish()
        measured = done.truth.means_db() if done.truth and done.truth.frames else {}
        return Result(
            video=job.name,
            mask=_name(job.mask),
            out=job.out,
            compare=job.compare,
            status=OK,
            remarks="; ".join(said.getvalue().splitlines()),
            model=task.version.uri,
            weights_sha256=task.weights_sha256,
            seconds=time.monotonic() - began,
            frames=done.extent.frames,
            out_bytes=out.bytes,
            sha256=out.sha256,
            hole_psnr_db=measured.get(MODEL),
            propagation_psnr_db=measured.get(PROPAGATION),
            telea_psnr_db=measured.get(TELEA),
            identity=task.identity(job),
        )


def _filled(
    config: InpaintConfig,
    version: Version,
    model: LoadedModel,
    place: Place,
    known: dict[str, str],
) -> Inpainted:
    """Fill a video; errors name it as it is known (local path -> URI), and not its local copy."""
    try:
        with prepared(config) as ready:
            return fill(ready, version, model, place)
    except UserError as error:
        text = str(error)
        for local, name in known.items():
            text = text.replace(local, name)
        raise UserError(text) from error


@final
class _Output:
    """A file on disk that is, or becomes, an output."""

    def __init__(self, path: Path, uri: str) -> None:
        self.path, self._uri = path, uri
        self.bytes, self.sha256 = 0, ""

    def finish(self) -> None:
        """Hash the file that was written, and put it where it belongs."""
        with self.path.open("rb") as file:
            self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self.bytes = self.path.stat().st_size
        if lake.is_s3(self._uri):
            lake.upload(self.path, self._uri)


@contextmanager
def _output(uri: str) -> Iterator[_Output]:
    """Where to write an output: at its place on disk, where it appears whole, or in a copy."""
    if lake.is_s3(uri):
        with scratch_folder("filled") as folder:
            yield _Output(folder / uri.rpartition("/")[2], uri)
        return
    path = Path(uri)
    with disk.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    yield _Output(path, uri)


def _answer(result: Result) -> Row:
    return {RESULT: result.encode(), ERROR: ""}


def _name(mask: str | Footage) -> str:
    return mask.uri if isinstance(mask, Footage) else mask
