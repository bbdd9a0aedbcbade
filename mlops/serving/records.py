"""What is kept of a video and of a job, and what an answer says of them."""

import secrets
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath

from pydantic import TypeAdapter

from mlops.config import Filling

FORMATS = ("mp4", "mov", "mkv", "webm")
"""Containers of a result."""


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True when nothing more will happen."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


@dataclass(slots=True, kw_only=True)
class Video:
    """A video that was uploaded, or copied from a URI."""

    id: str
    name: str
    """File name that the client gave."""
    file: str
    """Name in the video's folder."""
    bytes: int
    width: int
    """As displayed, pixels."""
    height: int
    frames: int
    """Packets of the video stream; damage may leave fewer frames."""
    fps: str
    """Frames per second, a fraction."""
    audio: int
    """Number of audio tracks."""
    created: float = field(default_factory=time.time)
    """Seconds since 1970."""


@dataclass(slots=True, kw_only=True)
class Job:
    """One video to fill, or that was filled."""

    id: str
    video: str
    """Id of the video."""
    name: str
    """File name of the result, for whoever downloads it."""
    mask: str
    """Boxes, or a name in the job's folder."""
    format: str
    """One of `FORMATS`."""
    filling: Filling
    model: str
    """URI of the version, by its number: pinned when the job was made."""
    frames: int
    """Frames of the video."""
    state: State = State.QUEUED
    reason: str = ""
    """Why it failed."""
    frames_done: int = 0
    deaths: int = 0
    """Processes that ended while they worked on it."""
    created: float = field(default_factory=time.time)
    """Seconds since 1970; so are the next two."""
    began: float = 0.0
    finished: float = 0.0
    result_bytes: int = 0
    hole_share: float = 0.0
    """Mean share of a frame that was hole, over the frames with one."""
    remarks: list[str] = field(default_factory=list)
    """What of the video is not kept."""

    @property
    def result(self) -> str:
        """Name of the result in the job's folder."""
        return f"result.{self.format}"


VIDEO: TypeAdapter[Video] = TypeAdapter(Video)
JOB: TypeAdapter[Job] = TypeAdapter(Job)


@dataclass(slots=True, kw_only=True)
class VideoAnswer:
    """A video."""

    id: str
    name: str
    bytes: int
    width: int
    height: int
    frames: int
    fps: str
    audio: int
    expires: float
    """Seconds since 1970; each use puts it off."""


@dataclass(slots=True, kw_only=True)
class JobAnswer:
    """A job: where it is, and what came of it."""

    id: str
    video: str
    state: State
    reason: str
    """Why it failed."""
    model: str
    """Version that fills it, or did."""
    frames: int
    frames_done: int
    created: float
    """Seconds since 1970; so are the next three, 0 = not yet."""
    began: float
    finished: float
    expires: float
    result: str
    """Path of the result, "" until it is done."""
    result_bytes: int
    hole_share: float
    """Mean share of a frame that was hole, over the frames with one."""
    remarks: list[str]
    """What of the video is not kept."""


def new_id() -> str:
    """Return an id that nobody guesses."""
    return secrets.token_hex(16)


def video_answer(video: Video, expires: float) -> VideoAnswer:
    """Say what clients may know of a video."""
    return VideoAnswer(
        id=video.id,
        name=video.name,
        bytes=video.bytes,
        width=video.width,
        height=video.height,
        frames=video.frames,
        fps=video.fps,
        audio=video.audio,
        expires=expires,
    )


def job_answer(job: Job, expires: float) -> JobAnswer:
    """Say what clients may know of a job."""
    return JobAnswer(
        id=job.id,
        video=job.video,
        state=job.state,
        reason=job.reason,
        model=job.model,
        frames=job.frames,
        frames_done=job.frames_done,
        created=job.created,
        began=job.began,
        finished=job.finished,
        expires=expires,
        result=f"/v1/jobs/{job.id}/result" if job.state is State.DONE else "",
        result_bytes=job.result_bytes,
        hole_share=job.hole_share,
        remarks=job.remarks,
    )


def result_name(video: str, form: str) -> str:
    """Return a file name for the result of a video: holiday.mov -> holiday-filled.mp4."""
    return f"{PurePath(video).stem or 'video'}-filled.{form}"
