"""Frames and masks of videos in folders, for the page: made in the background, shown as they come.

A folder is whole when it holds `WHOLE`; what an ended service left unfinished is made anew.
"""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from mlops.serving.children import WHOLE, count, make_frames, make_masks
from mlops.serving.isolated import Isolated
from mlops.serving.problems import Problem, as_problem

LIMIT_S = 3600.0  # of decoding, or of tracking, a video
_LOOK_S = 0.05  # between looks for a frame that is being made


@dataclass(slots=True, kw_only=True)
class Tracking:
    """Masks of a video: where their making is."""

    state: Literal["none", "running", "done", "failed"]
    reason: str = ""
    """Why it failed."""
    frames_done: int = 0
    frames: int = 0


@final
class Previews:
    """Makes folders of frames and of masks, each once at a time."""

    def __init__(self, isolated: Isolated) -> None:
        self._isolated = isolated
        self._tasks: dict[Path, asyncio.Task[Any]] = {}

    async def frame(self, source: Path, folder: Path, number: int) -> Path:
        """Return the path of a frame of a video as a JPEG; waits until it is there.

        Raises:
            Problem: there is no such frame.
            UserError: the video does not decode so far.
        """
        file = folder / f"{number:05d}.jpg"
        while not file.exists():
            if is_whole(folder):
                raise Problem(404, f"there is no frame {number}: there are {count(folder)}")
            task = self._frames(source, folder)
            await asyncio.wait({task}, timeout=_LOOK_S)
            if task.done():
                task.result()
        return file

    async def all_frames(self, source: Path, folder: Path) -> int:
        """Wait until all frames of a video are there; returns how many.

        Raises:
            UserError: the video does not decode to its end.
        """
        if not is_whole(folder):
            await asyncio.shield(self._frames(source, folder))
        return count(folder)

    async def track(self, source: Path, video: Path, size: tuple[int, int], *, still: bool) -> None:
        """Begin to make the masks of a video from those of some frames, once more if need be."""
        await self.stop_tracking(video)

        async def work() -> int:
            await self.all_frames(source, video / "frames")
            shutil.rmtree(video / "masks", ignore_errors=True)
            made: int = await self._isolated.run(_masks_of, video, size, still, limit_s=LIMIT_S)
            return made

        self._begin(video / "masks", work)

    async def stop_tracking(self, video: Path) -> None:
        """End the making of masks, if it is under way."""
        if (task := self._tasks.pop(video / "masks", None)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def tracking(self, video: Path) -> Tracking:
        """Say where the making of masks is."""
        folder = video / "masks"
        task = self._tasks.get(folder)
        frames = count(video / "frames") if is_whole(video / "frames") else 0
        if task is not None and not task.done():
            done = sum(1 for _ in folder.glob("*.png")) if folder.is_dir() else 0
            return Tracking(state="running", frames_done=done, frames=frames)
        if is_whole(folder):
            return Tracking(state="done", frames_done=frames, frames=frames)
        error = task.exception() if task is not None and not task.cancelled() else None
        if isinstance(error, Exception):
            return Tracking(state="failed", reason=as_problem(error).detail, frames=frames)
        return Tracking(state="none", frames=frames)

    async def stop(self) -> None:
        """End all work."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _frames(self, source: Path, folder: Path) -> asyncio.Task[Any]:
        async def work() -> None:
            await self._isolated.run(make_frames, source, folder, limit_s=LIMIT_S)

        return self._tasks.get(folder) or self._begin(folder, work)

    def _begin(self, folder: Path, work: Callable[[], Any]) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.create_task(work(), name=f"make {folder.name}")
        self._tasks[folder] = task
        return task

    def forget_finished(self) -> None:
        """Forget work that came to its end: an error is told until then, and not tried again."""
        self._tasks = {folder: task for folder, task in self._tasks.items() if not task.done()}


def is_whole(folder: Path) -> bool:
    """Return True when all of a folder is there."""
    return (folder / WHOLE).exists()


def _masks_of(video: Path, size: tuple[int, int], still: bool) -> int:
    return make_masks(video / "frames", video / "anchors", video / "masks", size, still=still)
