"""Who may ask what: a token, and no other site's page in between. Headers of every answer.

A program sends `Authorization: Bearer <token>`. The page trades the token for a cookie that scripts
cannot read, since a browser sends no such header for pictures and downloads. On loopback, where
there may be no token, a page of another site could still send requests through the user's browser:
they carry its `Origin`, or a foreign `Host` where it has its own name lead here.
"""

import hashlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_pipeline.cli.command import UserError
from mlops.config import SERVE_TOKEN, ServeConfig
from mlops.serving.problems import Problem, answer

COOKIE = "sttn_session"
MODEL_HEADER = "x-model-version"
MIN_TOKEN = 16  # characters

_OPEN = ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/v1/session")
_OPEN_BELOW = "/page/"
_OWN_NAMES = ("localhost", "127.0.0.1", "::1")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def token_of(config: ServeConfig) -> str:
    """Read the token of the service; "" = none, on loopback.

    Raises:
        UserError: its file cannot be read, or it is too short.
    """
    token = os.environ.get(SERVE_TOKEN, "")
    if config.token_file is not None:
        try:
            token = Path(config.token_file).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--token-file {config.token_file} cannot be read: {error}") from error
    if (token or config.token_file or not config.on_loopback) and len(token) < MIN_TOKEN:
        raise UserError(
            f"the token has {len(token)} characters: give {MIN_TOKEN} at least, as "
            "`python -c 'import secrets; print(secrets.token_urlsafe())'` prints them"
        )
    return token


def session_of(token: str) -> str:
    """Return the value of the cookie of those who know the token."""
    return hmac.digest(token.encode(), b"session of the page", hashlib.sha256).hex()


def is_token(token: str, sent: str) -> bool:
    """Compare in a time that says nothing about where they differ."""
    return hmac.compare_digest(token.encode(), sent.encode())


@final
class Access:
    """Middleware of ASGI: refuses who may not ask, and adds the headers of every answer."""

    def __init__(
        self, app: ASGIApp, token: str, on_loopback: bool, model: Callable[[], str]
    ) -> None:
        self._app, self._token, self._on_loopback, self._model = app, token, on_loopback, model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
                if model := self._model():
                    headers.setdefault(MODEL_HEADER, model)
            await send(message)

        problem = self._problem(scope)
        inner = self._app if problem is None else answer(problem)
        await inner(scope, receive, send_with_headers)

    def _problem(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._on_loopback and urlsplit(f"//{host}").hostname not in _OWN_NAMES:
            return Problem(403, f"this service is not {host!r}: ask for it by http://localhost")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return Problem(403, f"a page of {origin!r} may not use this service")
        path: str = scope["path"]
        if not self._token or path in _OPEN or path.startswith(_OPEN_BELOW):
            return None
        if self._knows_token(headers):
            return None
        return Problem(
            401,
            "the token is missing or wrong: send 'Authorization: Bearer TOKEN'",
            {"WWW-Authenticate": "Bearer"},
        )

    def _knows_token(self, headers: Headers) -> bool:
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return is_token(self._token, sent.strip())
        session = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return is_token(session_of(self._token), session)
