"""Versions as applications of Ray Serve: one for each, whose replicas hold nothing else.

Serve scales the replicas of a version by the jobs that wait for it. A new version is an application
beside the old one, so that no request finds none: new jobs get it when it is loaded, or, where
nothing is free for it meanwhile, after `PATIENCE_S`, and wait for it then. The old one goes when
its last job has ended. (A rolling update of one application would give a job to whichever replica
is free, old or new; `reconfigure` and `multiplexed` would load two versions into one process.)
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, final

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import RayServeException

from data_pipeline.cli import errors
from data_pipeline.cli.command import Refused, UserError
from data_pipeline.tracking.store_errors import translated
from mlops.config import ServeConfig
from mlops.serving.filling_order import Done, Order
from mlops.serving.models import Lost
from mlops.serving.version_replica import VersionReplica
from mlops.tracking import registry
from mlops.tracking.registry import Version

LOG = logging.getLogger("sttn.service")
PREFIX = "sttn-"  # begins the names of applications
PATIENCE_S = 30.0
_AGAIN_S = 60.0  # after which a version that could not be loaded is tried again
_LAST_JOB_S = 24 * 3600.0  # Serve ends a replica that is to go and has not finished by then


@final
class ServeModels:
    """The versions that are loaded, and the one that new jobs get."""

    def __init__(self, config: ServeConfig, tracking_uri: str) -> None:
        self._config, self._uri = config, tracking_uri
        self._loaded: dict[str, asyncio.Task[Any]] = {}
        self._failed_at = 0.0
        self.current = ""
        self.problem = ""

    async def keep(self, models: set[str]) -> None:
        """Follow the alias; let versions go that are neither current nor among `models`."""
        if time.monotonic() - self._failed_at < _AGAIN_S and self._failed_at:
            return
        try:
            wanted = await asyncio.to_thread(self._resolved, self._config.version)
            if wanted.uri != self.current:
                await self._change_to(wanted)
            self.problem, self._failed_at = "", 0.0
        except (UserError, Refused) as error:
            self._say_problem(str(error))
        for uri in self._loaded.keys() - models - {self.current}:
            await self._let_go(uri)

    async def fill(self, model: str, order: Order) -> AsyncIterator[int | Done]:
        """Fill a video; see `Models`."""
        try:
            handle = await asyncio.shield(self._loading(model))
            answers = handle.options(stream=True).fill.remote(order)
            try:
                async for news in answers:
                    if isinstance(news, str):
                        raise _in_words(errors.decode(news), model)
                    yield news
            finally:
                answers.cancel()
        except (RayError, RayServeException) as error:
            LOG.warning("%s: %s", model, errors.said(error))
            raise Lost(f"the process of {model} that worked on it ended") from error

    def _resolved(self, uri: str) -> Version:
        with translated(self._uri):
            return registry.resolve(self._uri, uri)

    def _say_problem(self, problem: str) -> None:
        if problem != self.problem:
            LOG.warning("%s", problem)
        self.problem = problem

    async def _change_to(self, version: Version) -> None:
        """Make a version current when it is loaded.

        Raises:
            UserError, Refused: it cannot be.
        """
        loading = self._loading(version.uri)
        await asyncio.wait({loading}, timeout=PATIENCE_S if self.current else None)
        if loading.done() and (error := loading.exception()) is not None:
            del self._loaded[version.uri]
            self._failed_at = time.monotonic()
            raise Refused(f"{version.uri} cannot be loaded: {error}") from error
        LOG.info("new jobs get %s", version.uri)
        self.current = version.uri

    def _loading(self, uri: str) -> asyncio.Task[Any]:
        """Return the loading of a version, which ends with its handle; begun when it is not."""
        if uri not in self._loaded:
            self._loaded[uri] = asyncio.create_task(self._load(uri), name=f"load {uri}")
        return self._loaded[uri]

    async def _load(self, uri: str) -> Any:
        version = await asyncio.to_thread(self._resolved, uri)
        handle = await asyncio.to_thread(self._deployed, version)
        if wrong := await handle.ready.remote():
            await asyncio.to_thread(serve.delete, _name(uri))
            raise errors.decode(wrong)
        return handle

    def _deployed(self, version: Version) -> Any:
        gpu = bool(ray.cluster_resources().get("GPU"))  # type: ignore[no-untyped-call]
        deployment = serve.deployment(
            name="VersionReplica",
            max_ongoing_requests=1,
            graceful_shutdown_timeout_s=_LAST_JOB_S,
            ray_actor_options={"num_cpus": self._config.cpus or 1, "num_gpus": int(gpu)},
            autoscaling_config=AutoscalingConfig(
                min_replicas=self._config.min_replicas,
                max_replicas=self._config.max_replicas,
                target_ongoing_requests=1,
                upscale_delay_s=2,
                downscale_delay_s=60,
            ),
        )
        target = serve.RunTarget(
            deployment(VersionReplica).bind(self._uri, version),
            name=_name(version.uri),
            route_prefix=None,
        )
        (handle,) = serve.run_many([target], wait_for_applications_running=False)
        return handle

    async def _let_go(self, uri: str) -> None:
        loading = self._loaded.pop(uri)
        loading.cancel()
        LOG.info("%s is not needed any more", uri)
        await asyncio.to_thread(serve.delete, _name(uri), _blocking=False)


def _name(uri: str) -> str:
    return PREFIX + uri.removeprefix("models:/").replace("/", "-")


def _in_words(error: Exception, model: str) -> Exception:
    """Turn errors of a version's own code, which may be anybody's, into `Refused`."""
    if isinstance(error, errors.Unexpected):
        LOG.error("%s", "\n".join(error.__notes__))
        return Refused(f"{model} could not fill it: {error}")
    return error
