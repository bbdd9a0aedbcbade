"""The service: what its routes share, and what it does beside answering them."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, final

from fastapi import Depends, Request

from data_pipeline.cli.command import UserError
from data_pipeline.storage import lake
from mlops.config import ServeConfig
from mlops.serving.children import Look, NotAVideo, look_at
from mlops.serving.isolated import Isolated
from mlops.serving.jobs import Jobs
from mlops.serving.models import Models
from mlops.serving.previews import Previews
from mlops.serving.problems import Problem
from mlops.serving.records import Video
from mlops.serving.store import Store

LOG = logging.getLogger("sttn.service")
LOOK_S = 120.0  # a request may wait so long until a video was looked through
FOLLOW_S = 10.0  # between looks at the alias
_TIDY_S = 60.0
_STUCK_S = 120.0  # without a turn of the loop that follows the alias: not healthy any more
_SHORT, _LONG = 4, 2  # processes at once, for what a request waits for and for the rest


@final
class Service:
    """One service: a store, models, and the work between them."""

    def __init__(self, config: ServeConfig, store: Store, models: Models) -> None:
        self.config, self.store, self.models = config, store, models
        self.jobs = Jobs(store, models, config.max_jobs)
        self.isolated = Isolated(_SHORT)
        self.previews = Previews(Isolated(_LONG))
        self._turned = time.monotonic()

    @property
    def limit_bytes(self) -> int:
        """Largest request."""
        return self.config.max_upload_mb * 10**6

    @property
    def healthy(self) -> bool:
        """False when the service should be started again."""
        return time.monotonic() - self._turned < _STUCK_S

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Go on with jobs, follow the alias, remove what is old."""
        self.jobs.resume()
        turning = asyncio.create_task(self._turn(), name="follow")
        try:
            yield
        finally:
            turning.cancel()
            await asyncio.gather(turning, return_exceptions=True)
            await self.jobs.stop()
            await self.previews.stop()
            self.store.close()

    async def _turn(self) -> None:
        tidied = 0.0
        while True:
            try:
                await self.models.keep({job.model for job in self.jobs.unfinished()})
                if time.monotonic() - tidied > _TIDY_S:
                    self.previews.forget_finished()
                    await asyncio.to_thread(self.jobs.remove_old)
                    tidied = time.monotonic()
            except Exception:  # of a registry that is away, a disk that is full: it goes on
                LOG.exception("the service goes on after")
            self._turned = time.monotonic()
            await asyncio.sleep(FOLLOW_S)

    def current_model(self) -> str:
        """Return the version that new jobs get.

        Raises:
            Problem: none is loaded.
        """
        if not self.models.current:
            why = self.models.problem or "it is being loaded"
            raise Problem(503, f"no model is there yet: {why}", {"Retry-After": "10"})
        return self.models.current

    async def take_video(self, sent: Path, name: str, video_id: str, folder: Path) -> Video:
        """Take a file on disk as a new video, in its folder.

        Raises:
            Problem: it is no video, or larger than the service takes.
        """
        try:
            look: Look = await self.isolated.run(look_at, sent, limit_s=LOOK_S)
        except NotAVideo as error:
            raise Problem(415, str(error)) from error
        self._refuse_beyond(look)
        sent.rename(folder / "source")
        video = Video(
            id=video_id,
            name=name,
            file="source",
            bytes=(folder / "source").stat().st_size,
            width=look.width,
            height=look.height,
            frames=look.frames,
            fps=look.fps,
            audio=look.audio,
        )
        self.store.write_video(video)
        return video

    async def frame(self, video: Video, number: int) -> Path:
        """Return the path of a frame of a video as a JPEG; see `Previews.frame`."""
        if number < 0:
            raise Problem(404, f"there is no frame {number}")
        folder = self.store.video_folder(video.id) / "frames"
        return await self.previews.frame(self.store.source(video), folder, number)

    async def fetch(self, uri: str, target: Path) -> None:
        """Copy a file from a place that the operator allows.

        Raises:
            Problem: it is not allowed, not there, or too large.
        """
        try:
            where = _allowed(uri, self.config.allow_uris)
            found = await asyncio.to_thread(lake.entry, where)
        except FileNotFoundError as error:
            raise Problem(422, f"{uri} is not there") from error
        if found.size > self.limit_bytes:
            raise Problem(413, f"{uri} is larger than {self.config.max_upload_mb:,} MB")
        self.store.refuse_without_room(found.size)
        await asyncio.to_thread(lake.download, where, target)

    def _refuse_beyond(self, look: Look) -> None:
        config = self.config
        if look.width * look.height > config.max_pixels:
            raise Problem(
                422,
                f"the video has frames of {look.width}x{look.height}, and this service takes "
                f"{config.max_pixels:,} pixels: scale it down",
            )
        if look.frames > config.max_frames:
            raise Problem(
                422,
                f"the video has {look.frames:,} frames, and this service takes "
                f"{config.max_frames:,}: cut it",
            )


async def _service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(_service_of)]
"""The service, as an argument of a route."""


def _allowed(uri: str, prefixes: tuple[str, ...]) -> str:
    """Return a URI in its absolute form, or a path in its real one, that lies below a prefix.

    Raises:
        Problem: it does not.
    """
    try:
        known = [_real(prefix) for prefix in prefixes]
        asked = _real(uri)
    except UserError as error:
        raise Problem(422, str(error)) from error
    if not any(asked.startswith(f"{prefix.rstrip('/')}/") for prefix in known):
        raise Problem(403, f"{uri!r} is not below a place that this service reads: upload it")
    return asked


def _real(uri: str) -> str:
    found = lake.absolute(uri)
    if lake.is_s3(found):
        if ".." in found.split("/"):
            raise UserError(f"{uri!r} has a part '..': give the whole key")
        return found
    return str(Path(found).resolve())
