"""The app of the service: its routes, its page, health, metrics. Needs no Ray.

`make_app(service, token)` is all of it; `gateway.py` runs it on a cluster.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel
from starlette.staticfiles import StaticFiles

from mlops.serving import http_jobs, http_masks, http_videos
from mlops.serving.access import COOKIE, Access, is_token, session_of
from mlops.serving.metrics import Metrics
from mlops.serving.problems import Problem, handle_problems
from mlops.serving.service import Service

PAGE = Path(__file__).parent / "page"

_ABOUT = """Removes things from videos. Submit a video and a mask to `POST /v1/jobs`, look at
`GET /v1/jobs/{id}` until its state is `done`, then download `GET /v1/jobs/{id}/result`. Errors are
`application/problem+json`. Send the token as `Authorization: Bearer TOKEN` where there is one."""


class Token(BaseModel):
    """What the page trades for a cookie."""

    token: str


def make_app(service: Service, token: str) -> FastAPI:
    """Make the app.

    Args:
        service: not running yet; it runs while the app does.
        token: that clients must send; "" = none.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="STTN video inpainting",
        version="1",
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,  # theirs loads its scripts from the internet
        redoc_url=None,
    )
    handle_problems(app)
    metrics = Metrics(service)
    app.add_middleware(metrics.counting)
    app.add_middleware(
        Access,
        token=token,
        on_loopback=service.config.on_loopback,
        model=lambda: service.models.current,
    )
    app.state.service = service
    for routes in (http_jobs, http_videos, http_masks):
        app.include_router(routes.router)
    _add_state(app, service, metrics)
    _add_session(app, token)
    _add_page(app)
    return app


def _add_state(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/v1/service", tags=["service"])
    async def about() -> dict[str, Any]:
        """Say which version new jobs get, what is taken, and how many jobs there are."""
        config = service.config
        return {
            "model": service.models.current,
            "problem": service.models.problem,
            "jobs": len(list(service.jobs.unfinished())),
            "limits": {
                "bytes": service.limit_bytes,
                "frames": config.max_frames,
                "pixels": config.max_pixels,
                "jobs": config.max_jobs,
                "keep_hours": config.keep_hours,
            },
        }

    @app.get("/healthz", tags=["service"])
    async def healthz() -> Response:
        """Say whether the service works at all."""
        return JSONResponse({"healthy": service.healthy}, 200 if service.healthy else 503)

    @app.get("/readyz", tags=["service"])
    async def readyz() -> dict[str, str]:
        """Say whether jobs are taken: a version is loaded, and there is room on the disk."""
        model = service.current_model()
        service.store.refuse_without_room(0)
        return {"model": model}

    @app.get("/metrics", tags=["service"], response_class=Response)
    async def prometheus() -> Response:
        """Metrics for Prometheus."""
        text, kind = metrics.text()
        return Response(text, media_type=kind)


def _add_session(app: FastAPI, token: str) -> None:
    @app.post("/v1/session", status_code=204, tags=["service"])
    async def session(sent: Token, request: Request, response: Response) -> None:
        """Trade the token for a cookie, as the page does."""
        if not is_token(token, sent.token):
            raise Problem(401, "the token is wrong")
        secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
        response.set_cookie(
            COOKIE, session_of(token), httponly=True, samesite="strict", secure=secure
        )


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html", headers={"cache-control": "no-cache"})

    app.mount("/page", StaticFiles(directory=PAGE), name="page")
