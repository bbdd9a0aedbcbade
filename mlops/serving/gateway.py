"""The process that answers HTTP: one replica of Ray Serve, with a server of its own.

It does not stand behind Serve's HTTP proxy, which reads a whole upload as fast as it comes, and a
whole answer as fast as it is made, into queues without a limit (`MessageQueue` in
`ray/serve/_private/http_util.py`): two clients with slow disks and long videos would fill its
memory. Serve starts it again when it ends; jobs are on disk, and go on.
"""

import logging
import threading
import time
from typing import final

import uvicorn

from mlops.config import ServeConfig
from mlops.serving.access import token_of
from mlops.serving.http_app import make_app
from mlops.serving.serve_models import ServeModels
from mlops.serving.service import Service
from mlops.serving.store import Store

START_S = 30.0
_CONNECTIONS = 1000  # beyond, uvicorn answers 503 at once
_END_S = 5


@final
class Gateway:
    """Runs the app in a thread for as long as the replica lives."""

    def __init__(self, config: ServeConfig, tracking_uri: str) -> None:
        logging.getLogger("sttn").setLevel(logging.INFO)
        store = Store(config.folder, config.keep_hours * 3600)
        service = Service(config, store, ServeModels(config, tracking_uri))
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(service, token_of(config)),
                host=config.host,
                port=config.port,
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=_CONNECTIONS,
                timeout_graceful_shutdown=_END_S,
            )
        )
        self._service, self._port = service, config.port
        self._thread = threading.Thread(target=self._server.run, name="http", daemon=True)
        self._thread.start()
        end = time.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                store.close()
                raise RuntimeError(f"nothing answers at {config.host}:{config.port}")
            time.sleep(0.05)

    def check_health(self) -> None:
        """Tell Serve whether to start this process again."""
        if not (self._thread.is_alive() and self._service.healthy):
            raise RuntimeError("the service does not turn any more")

    async def __call__(self, _: object) -> str:
        """Answer Serve's HTTP proxy, which KubeRay takes for healthy only where it has a route."""
        return f"the service answers at port {self._port}\n"

    def __del__(self) -> None:
        """End the server when Serve ends the replica."""
        self._server.should_exit = True
        self._thread.join(2 * _END_S)
