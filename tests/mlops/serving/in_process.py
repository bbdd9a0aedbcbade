"""The service without Ray: its app on loopback, versions in threads of this process."""

import asyncio
import socket
import threading
import time
import warnings
from contextlib import contextmanager

import requests
import uvicorn

from data_pipeline.cli import errors
from mlops.config import ServeConfig
from mlops.serving.filling_order import Done
from mlops.serving.http_app import make_app
from mlops.serving.models import Lost
from mlops.serving.service import Service
from mlops.serving.store import Store
from mlops.serving.version_replica import VersionReplica
from tests.faults.processes import free_port

SECONDS = 60


class OneAtATime:
    """`Models` of one version in this process; may be told to wait before each video."""

    def __init__(self, uri, version):
        self.current, self.problem = version.uri, ""
        with warnings.catch_warnings(record=True):  # advice of MLflow to the model's author
            self.replica = VersionReplica(uri, version)
        self.hold = threading.Event()
        self.hold.set()
        self.lose = 0
        self._free = None

    async def keep(self, models):
        """Follow nothing."""

    async def fill(self, model, order):
        assert model == self.current
        self._free = self._free or asyncio.Lock()
        async with self._free:
            while not self.hold.is_set():
                await asyncio.sleep(0.02)
            if self.lose:
                self.lose -= 1
                raise Lost(f"the process of {model} that worked on it ended")
            async for news in self.replica.fill(order):
                if isinstance(news, str):
                    raise errors.decode(news)
                yield news
                if isinstance(news, Done):
                    return


class Client:
    """Asks a service over HTTP."""

    def __init__(self, base, token=""):
        self.base, self.session = base, requests.Session()
        self.session.trust_env = False
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def __call__(self, method, path, **kwargs):
        return self.session.request(method, self.base + path, timeout=SECONDS, **kwargs)

    def raw(self, *lines, seconds=10):
        """Send lines as they are, and read what comes until the other side has no more to say."""
        port = int(self.base.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), seconds) as connection:
            head, *rest = lines
            text = "\r\n".join([head, "Host: localhost", "Connection: close", *rest])
            connection.sendall(f"{text}\r\n".encode())
            answer = b""
            while piece := connection.recv(2**16):
                answer += piece
        return answer.decode()

    def submit(self, video, mask=None, **fields):
        """POST /v1/jobs with files from disk."""
        files = {"video": (video.name, video.read_bytes())}
        if mask is not None:
            files["mask"] = (mask.name, mask.read_bytes())
        return self("POST", "/v1/jobs", files=files, data=fields)

    def upload(self, video):
        """POST /v1/videos; its id."""
        answer = self("POST", "/v1/videos", files={"video": (video.name, video.read_bytes())})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def until(self, path, *states):
        """Look until the state is one of these; the last look."""
        end = time.monotonic() + SECONDS
        while True:
            found = self("GET", path).json()
            if found["state"] in states:
                return found
            assert time.monotonic() < end, found
            time.sleep(0.05)


@contextmanager
def running(folder, models, *, token="", **fields):
    """A service; gives its client and itself."""
    config = ServeConfig(model="starter", tracking_uri="", folder=folder, **fields)
    service = Service(config, Store(folder, config.keep_hours * 3600), models)
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(make_app(service, token), port=port, log_level="warning", access_log=False)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Client(f"http://127.0.0.1:{port}", token), service
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()
