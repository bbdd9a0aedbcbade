"""An S3 server as a separate process, and a proxy to it that injects faults.

    with s3_server() as endpoint, faulty(endpoint, seed=0, share=0.2) as proxy_endpoint:
        ...  # AWS_ENDPOINT_URL=proxy_endpoint

The proxy takes whole requests and injects a `Fault` into a seeded share of them.
"""

import contextlib
import enum
import http.client
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.faults.processes import free_port

_START_SECONDS = 60.0
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}
_LINGER_NOT = struct.pack("ii", 1, 0)  # closing sends a reset
_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class Fault(enum.Enum):
    """Faults of a request."""

    RESET = "the connection is reset before the server hears of the request"
    STALL = "no answer comes"
    SLOW_DOWN = "the answer is 503 SlowDown"
    BAD_GATEWAY = "the answer is 502, and not even of S3"
    CUT_REQUEST = "the server gets half of the body, and the connection is reset"
    CUT_ANSWER = "the server executes the request; half of the body of its answer comes back"


@contextmanager
def s3_server() -> Iterator[str]:
    """Start an S3 server on a free port of this machine; yields its URL."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(endpoint, server)
        yield endpoint
    finally:
        server.terminate()
        server.wait()


@contextmanager
def faulty(
    endpoint: str,
    *,
    seed: int = 0,
    share: float = 0.2,
    faults: Sequence[Fault] = tuple(Fault),
    stall_seconds: float = 60.0,
    on: Callable[[], bool] = lambda: True,
) -> Iterator[str]:
    """Start a proxy of a server that injects faults into a share of the requests; yields its URL.

    Args:
        endpoint: URL of the server.
        seed: of the draws: which requests, and how.
        share: of the requests, 0 to 1.
        faults: taken with equal chance.
        stall_seconds: until a connection without an answer is closed.
        on: called at each request; while it is false, there are no faults.
    """
    proxy = _Proxy(endpoint, random.Random(seed), share, faults, stall_seconds, on)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.closed.set()
        proxy.shutdown()
        thread.join()
        proxy.server_close()


class _Proxy(ThreadingHTTPServer):
    """Draws the fault of each request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, endpoint, draws, share, faults, stall_seconds, on):
        super().__init__(("127.0.0.1", 0), _Request)
        to = urlsplit(endpoint)
        self.to, self.stall_seconds = (to.hostname, to.port), stall_seconds
        self.closed = threading.Event()
        self._draws, self._share, self._faults, self._on = draws, share, faults, on
        self._lock = threading.Lock()

    def draw(self) -> Fault | None:
        if not self._on():
            return None
        with self._lock:
            return self._draws.choice(self._faults) if self._draws.random() < self._share else None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that disconnect are expected."""


class _Request(BaseHTTPRequestHandler):
    """Takes a whole request, then forwards it or injects a fault."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    server: _Proxy

    def _pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.draw()
        if fault in (None, Fault.CUT_ANSWER):
            self._answer(*self._answer_of_server(body), cut=fault is Fault.CUT_ANSWER)
        elif fault is Fault.SLOW_DOWN:
            self._answer(503, [("Content-Type", "application/xml")], _SLOW_DOWN)
        elif fault is Fault.BAD_GATEWAY:
            self._answer(502, [("Content-Type", "text/html")], b"<html><br>Bad gateway</html>")
        else:
            if fault is Fault.STALL:
                self.server.closed.wait(self.server.stall_seconds)
            if fault is Fault.CUT_REQUEST:
                self._sent(body[: len(body) // 2]).close()
            self._reset()

    # http.server calls these.
    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def _answer_of_server(self, body):
        """Status, headers and body of the server's answer."""
        with (
            self._sent(body) as connection,
            http.client.HTTPResponse(connection, method=self.command) as answer,
        ):
            answer.begin()
            return answer.status, answer.getheaders(), answer.read()

    def _sent(self, body):
        """A connection to the server on which this request was sent, with this much of its body."""
        connection = socket.create_connection(self.server.to)
        head = [f"{self.command} {self.path} HTTP/1.1", "Connection: close"]
        head += [f"{k}: {v}" for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP]
        connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        return connection

    def _answer(self, status, headers, body, cut=False):
        if cut and not body:
            self._reset()
            return
        self.send_response_only(status)
        for name, value in headers:
            # The answer to a HEAD has the length of a body that does not come.
            if name.lower() not in _HOP_BY_HOP and (
                name.lower() != "content-length" or self.command == "HEAD"
            ):
                self.send_header(name, value)
        if self.command != "HEAD" and status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._reset()

    def _reset(self):
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self.rfile.close()  # holds the connection open
        self.connection.close()

    def log_message(self, *_):
        """Say nothing."""


def _wait_for(endpoint: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        assert server.poll() is None, f"moto.server ended with {server.returncode}"
        with contextlib.suppress(OSError), urllib.request.urlopen(endpoint, timeout=5):
            return
        time.sleep(0.05)
    raise AssertionError(f"moto.server did not answer within {_START_SECONDS} s")
