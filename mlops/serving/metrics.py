"""Metrics of the service for Prometheus, in a registry of their own."""

import time
from collections.abc import Iterator
from typing import final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlops.serving.records import State
from mlops.serving.service import Service

_SECONDS = (0.01, 0.05, 0.25, 1, 5, 30, 120)


@final
class Metrics:
    """Counts requests, and reads everything else when it is asked."""

    def __init__(self, service: Service) -> None:
        # They would be a second series for each, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "sttn_requests", "Requests answered.", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "sttn_request_seconds",
            "Time until an answer began, uploads included.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._registry.register(_OfService(service))

    def counting(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with its requests counted; by patterns of routes, which have no ids."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began = time.monotonic()

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    route = f"{scope['method']} {getattr(scope.get('route'), 'path', 'other')}"
                    self._requests.labels(route, message["status"]).inc()
                    self._seconds.labels(route).observe(time.monotonic() - began)
                await send(message)

            await app(scope, receive, noted)

        return counted

    def text(self) -> tuple[bytes, str]:
        """Return all of them, and the media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


@final
class _OfService(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Read what the service knows."""
        jobs, models = self._service.jobs, self._service.models
        now = [job.state for job in jobs.unfinished()]
        unfinished = GaugeMetricFamily("sttn_jobs", "Unfinished jobs.", labels=("state",))
        for state in (State.QUEUED, State.RUNNING):
            unfinished.add_metric((state,), now.count(state))
        yield unfinished
        finished = CounterMetricFamily("sttn_jobs_finished", "Jobs that ended.", labels=("state",))
        for state in State:
            if state.is_final:
                finished.add_metric((state,), jobs.finished[state])
        yield finished
        yield CounterMetricFamily("sttn_frames_filled", "Frames filled.", value=jobs.frames)
        yield InfoMetricFamily("sttn_model", "Version of new jobs.", {"uri": models.current})
        problem = GaugeMetricFamily(
            "sttn_model_problem", "1 where the version that should be served is not."
        )
        problem.add_metric((), int(bool(models.problem)))
        yield problem
