"""A separate Ray head that requires a token, and commands as a user types them."""

import os
import secrets
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from tests.faults.processes import descendants, free_port, kill
from tests.faults.training import wait_until

BIN = Path(sys.executable).parent


class Head:
    """A separate Ray head, and a checkout to submit from."""

    def __init__(self, folder, checkout):
        self.checkout, self.folder = checkout, Path(folder)
        self.port, gcs = free_port(), free_port()
        self.address = f"127.0.0.1:{gcs}"
        self.environment = {
            # The environment of a user's shell: no variables of this test.
            **{name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ},
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        command = [
            "ray", "start", "--head", "--block", "--port", gcs, "--num-cpus", 2,
            "--dashboard-host", "127.0.0.1", "--dashboard-port", self.port,
            "--dashboard-agent-listen-port", free_port(), "--node-ip-address", "127.0.0.1",
            "--ray-client-server-port", free_port(),
            "--object-store-memory", 200 * 2**20, "--temp-dir", folder,
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [str(word) for word in command],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def answers(self):
        """Whether the job server answers a request with the token."""
        token = f"Bearer {self.environment['RAY_AUTH_TOKEN']}"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/version", headers={"Authorization": token}
        )
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except OSError:
            return False

    def ray_job(self, *words, seconds=400, **environment):
        """`ray job …` as typed: exit code and everything it printed."""
        command = ["ray", "job", words[0], "--address", f"http://127.0.0.1:{self.port}", *words[1:]]
        done = subprocess.run(
            command,
            cwd=self.checkout,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        return done.returncode, done.stdout

    def close(self):
        """SIGTERM would drain the node for half a minute."""
        below = descendants(self._process.pid)
        kill([self._process.pid, *(pid for pid, _ in below)])
        self._process.wait()


@contextmanager
def started(checkout):
    """A running head, which is stopped afterwards."""
    # Paths of sockets, which lie below, must be short.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        head = Head(folder, checkout)
        try:
            wait_until(head.answers, 120)
            yield head
        finally:
            head.close()
