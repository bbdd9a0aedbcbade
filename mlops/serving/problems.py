"""Errors of the service as answers of HTTP: one form for all, that of RFC 9457.

{"title": "Too Many Requests", "status": 429, "detail": "100 jobs wait already: ..."}
"""

import re
from http import HTTPStatus
from typing import Any, final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from data_pipeline.cli.command import Refused, UserError
from data_pipeline.storage.store import DiskFull

MEDIA_TYPE = "application/problem+json"
_FLAG = re.compile(r"--([a-z]+(?:-[a-z]+)*)")


@final
class Problem(Exception):  # noqa: N818 (RFC 9457 calls it so)
    """A request that is not answered as it was meant to be."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


def as_problem(error: Exception) -> Problem:
    """Say an error of ours as an answer of HTTP."""
    match error:
        case Problem():
            return error
        case DiskFull():
            return disk_is_full()
        case UserError():
            return Problem(422, fields_for_flags(str(error)))
        case Refused():
            return Problem(503, fields_for_flags(str(error)), {"Retry-After": "60"})
        case _:
            return Problem(500, "the service made a mistake; its log says more")


def disk_is_full() -> Problem:
    """Return the answer where there is no room for what a request brings."""
    return Problem(507, "the disk of the service is full: try again later, or ask who runs it")


def fields_for_flags(text: str) -> str:
    """Name fields of a form where the message of a command names its flags."""
    return _FLAG.sub(lambda found: found[1].replace("-", "_"), text)


def answer(problem: Problem) -> JSONResponse:
    """Return a problem as JSON."""
    said = {
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    return JSONResponse(said, problem.status, problem.headers, MEDIA_TYPE)


def handle_problems(app: FastAPI) -> None:
    """Give every error of the app this form."""

    async def ours(_: Request, error: Exception) -> JSONResponse:
        return answer(as_problem(error))

    async def of_http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return answer(Problem(error.status_code, str(error.detail), dict(error.headers or {})))

    async def of_values(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first: dict[str, Any] = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return answer(Problem(422, f"{where}: {first['msg']}"))

    for kind in (Problem, UserError, Refused, Exception):
        app.add_exception_handler(kind, ours)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_values)
