"""Videos and jobs in a folder, which outlive the service: each has a folder with a JSON file in it.

    videos/<id>/video.json  source.mp4  frames/  anchors/  masks/
    jobs/<id>/job.json      mask.png or masks/   result.mp4   frames/

JSON files are written whole. What was not used for `keep_hours` is removed; a folder without its
JSON file is what an upload left that did not come to its end.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import final

from data_pipeline.cli.command import UserError
from data_pipeline.storage import disk, lake
from mlops.serving.problems import Problem
from mlops.serving.records import JOB, VIDEO, Job, Video, new_id

_ID = re.compile(r"[0-9a-f]{32}")
_LEFT_OVER_S = 3600.0  # age at which a folder without its JSON file is no upload under way
_RESERVE_BYTES = 64 * 2**20  # that stay free, for state files and logs


@final
class Store:
    """The folder of one service."""

    def __init__(self, folder: Path, keep_s: float) -> None:
        self.folder, self.keep_s = folder.absolute(), keep_s
        self._videos, self._jobs = self.folder / "videos", self.folder / "jobs"
        with disk.writing(self.folder):
            self._videos.mkdir(parents=True, exist_ok=True)
            self._jobs.mkdir(exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise UserError(
                f"--folder {self.folder} is used by another service: give another one"
            ) from error

    def close(self) -> None:
        """Let another service have the folder."""
        os.close(self._lock)

    def video_folder(self, video_id: str) -> Path:
        """Return the folder of a video."""
        return self._videos / video_id

    def job_folder(self, job_id: str) -> Path:
        """Return the folder of a job."""
        return self._jobs / job_id

    @contextmanager
    def new_video(self) -> Iterator[tuple[str, Path]]:
        """Give an id and a new folder, which goes again where there is an error."""
        with _new(self._videos) as made:
            yield made

    @contextmanager
    def new_job(self) -> Iterator[tuple[str, Path]]:
        """Give an id and a new folder, which goes again where there is an error."""
        with _new(self._jobs) as made:
            yield made

    def write_video(self, video: Video) -> None:
        """Write what is kept of a video, whole."""
        lake.write_bytes(str(self.video_folder(video.id) / "video.json"), VIDEO.dump_json(video))

    def write_job(self, job: Job) -> None:
        """Write what is kept of a job, whole."""
        lake.write_bytes(str(self.job_folder(job.id) / "job.json"), JOB.dump_json(job))

    def video(self, video_id: str) -> Video:
        """Read a video, and count this as a use of it.

        Raises:
            Problem: there is none.
        """
        file = self.video_folder(video_id) / "video.json"
        try:
            if not _ID.fullmatch(video_id):
                raise FileNotFoundError
            video = VIDEO.validate_json(file.read_bytes())
            os.utime(file)
        except FileNotFoundError as error:
            raise Problem(404, f"there is no video {video_id!r} here, or not any more") from error
        return video

    def source(self, video: Video) -> Path:
        """Return the path of a video's file."""
        return self.video_folder(video.id) / video.file

    def expires(self, video: Video) -> float:
        """Return when a video goes that nobody uses until then, seconds since 1970."""
        return (self.video_folder(video.id) / "video.json").stat().st_mtime + self.keep_s

    def jobs(self) -> Iterator[Job]:
        """Read all jobs; one whose file cannot be read is passed over."""
        for file in sorted(self._jobs.glob("*/job.json")):
            with suppress(ValueError, OSError):
                yield JOB.validate_json(file.read_bytes())

    def refuse_without_room(self, more_bytes: int) -> None:
        """Refuse what does not fit on the disk, before any of it is read.

        Raises:
            Problem: it does not.
        """
        if shutil.disk_usage(self.folder).free < more_bytes + _RESERVE_BYTES:
            raise Problem(507, "the disk of the service has no room for this: try again later")

    def remove_job(self, job_id: str) -> None:
        """Remove a job with its result."""
        shutil.rmtree(self.job_folder(job_id), ignore_errors=True)

    def remove_old(self, in_use: set[str]) -> None:
        """Remove videos that nobody used for a while, and what uploads left over.

        Args:
            in_use: ids of videos of unfinished jobs.
        """
        now = time.time()
        for folder in (*self._videos.iterdir(), *self._jobs.iterdir()):
            with suppress(FileNotFoundError):
                if folder.name not in in_use and _last_use(folder) + self._patience(folder) < now:
                    shutil.rmtree(folder, ignore_errors=True)

    def _patience(self, folder: Path) -> float:
        if (folder / "job.json").exists():
            return float("inf")  # `Jobs` knows when a job has finished
        return self.keep_s if (folder / "video.json").exists() else _LEFT_OVER_S


def _last_use(folder: Path) -> float:
    record = folder / "video.json"
    return (record if record.exists() else folder).stat().st_mtime


@contextmanager
def _new(folder: Path) -> Iterator[tuple[str, Path]]:
    made_id = new_id()
    made = folder / made_id
    with disk.writing(made):
        made.mkdir()
    try:
        yield made_id, made
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
