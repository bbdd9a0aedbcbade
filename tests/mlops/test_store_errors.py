"""Errors of MLflow's store are one line with exit code 2, within seconds, in every command."""

import importlib
import shutil
import sqlite3
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from data_pipeline.tracking import store_database
from mlops import lineage, promote
from mlops.tracking import connection, locks
from tests.data_pipeline import handmade
from tests.faults.processes import ROOT
from tests.mlops import foreign
from tests.training.test_official import random_weights
from tests.training.test_written_before import RUN

SECONDS = 10  # at most, also on a busy machine
PAGE = "<html><body>Sign in</body></html>"


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """No environment variables of the user or of commands; a shorter SQLite timeout."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(store_database, "_LOCKED_S", 0.2)


def complaint(capsys, command, *argv):
    """Run a command that fails; returns the one line that it prints."""
    capsys.readouterr()
    began = time.monotonic()
    code = command.main([str(word) for word in argv])
    said = capsys.readouterr()
    assert (code, said.out, said.err.count("\n")) == (2, "", 1), said
    assert said.err.startswith("error: ")
    assert time.monotonic() - began < SECONDS
    return said.err


@pytest.fixture
def copied(empty_database, tmp_path):
    """Copy a database and change it; gives its URI."""

    def make(*statements):
        shutil.copy(empty_database, tmp_path / "mlflow.db")
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            for statement in statements:
                database.execute(statement)
        database.close()
        return f"sqlite:///{tmp_path}/mlflow.db"

    return make


REVISION = "UPDATE alembic_version SET version_num = '{}'"


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ([REVISION.format("ffffffffffff")], "tables of a newer MLflow (revision ffffffffffff)"),
        ([REVISION.format("451aebb31d03")], "mlflow db upgrade"),
        ([REVISION.format("451aebb31d03"), "DROP TABLE webhooks"], "mlflow db upgrade"),
        (["DROP TABLE alembic_version"], "is a database of something else"),
    ],
)
def test_a_database_of_another_mlflow(copied, capsys, statements, said):
    uri = copied(*statements)
    before = Path(uri.removeprefix("sqlite:///")).read_bytes()
    assert said in complaint(capsys, promote, "--history", "--tracking-uri", uri)
    assert Path(uri.removeprefix("sqlite:///")).read_bytes() == before


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("sqlite:///{folder}", "is a folder: give a file in it"),
        ("sqlite:///", "names no file"),
        ("sqlite:///{folder}/text", "is no SQLite database"),
        ("sqlite:///{folder}/cut.db", "is no SQLite database, or a damaged one"),
        ("sqlite:///{folder}/none.db", "there is no tracking store at"),
        ("sqlite:///{folder}/text/none.db", "there is no tracking store at"),
        ("http://localhost:99999", "Port out of range"),
        ("http://no.such.host.invalid:5000", "does not answer, for its host name does not resolve"),
        ("http://127.0.0.1:9", "does not answer: start it, or give another --tracking-uri"),
        ("postgresql://u@127.0.0.1:9/x", "does not answer: start it"),
        ("postgresql://u@no.such.host.invalid/x", "its host name does not resolve"),
        ("postgresql+nothing://u@h/x", "is no database for MLflow"),
        ("mysql://u@127.0.0.1:9/x", "the package MySQLdb, which is not installed"),
    ],
)
def test_a_uri_without_an_mlflow_store_is_named(place, said, tmp_path, empty_database, capsys):
    (tmp_path / "text").write_text("no database" * 1000)
    (tmp_path / "cut.db").write_bytes(empty_database.read_bytes()[:20_000])
    before = sorted(tmp_path.iterdir())
    uri = place.format(folder=tmp_path)
    assert said in complaint(capsys, promote, "--history", "--tracking-uri", uri)
    assert sorted(tmp_path.iterdir()) == before  # reading creates nothing


class Answers(BaseHTTPRequestHandler):
    """Gives the same answer to every request."""

    def do_GET(self):
        status, body = self.server.says
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(status)
        self.send_header("Location", "/login")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_POST(self):
        self.do_GET()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def answering(tmp_path):
    """Start a server with one fixed answer; gives its port."""
    servers = []

    def start(status, body, *, tls=False):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        server.says = status, body
        if tls:
            names = [str(tmp_path / name) for name in ("certificate", "key")]
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj",
                 "/CN=localhost", "-out", names[0], "-keyout", names[1]],
                check=True, capture_output=True,
            )  # fmt: skip
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*names)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_: None  # the client hangs up
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, PAGE, "answers with a page that is not MLflow's (a login?)"),
        (302, PAGE, "answers with a page that is not MLflow's (a login?)"),
        (400, PAGE, "answers with a page that is not MLflow's (a login?)"),
        (400, "The plain HTTP request was sent to HTTPS port", "speaks TLS only"),
        (200, "", "answers with nothing"),
        (404, PAGE, "is no MLflow, or one that is too old"),
        (401, PAGE, "wants to know who asks: set MLFLOW_TRACKING_USERNAME"),
        (403, PAGE, "does not let everybody do this: set MLFLOW_TRACKING_USERNAME"),
        (500, PAGE, "answers with errors only: look at its log"),
        (503, '{"error_code": "TEMPORARILY_UNAVAILABLE"}', "answers with errors only"),
    ],
)
def test_a_server_that_is_not_mlflow_is_named(answering, status, body, said, capsys):
    uri = f"http://127.0.0.1:{answering(status, body)}"
    line = complaint(capsys, promote, "--history", "--tracking-uri", uri)
    assert said in line
    assert uri in line


def test_tls_mismatch_and_an_unknown_certificate(answering, capsys):
    plain = f"https://localhost:{answering(200, '{}')}"
    assert "speaks no TLS: give its address with http://" in complaint(
        capsys, promote, "--history", "--tracking-uri", plain
    )
    unknown = f"https://localhost:{answering(200, '{}', tls=True)}"
    assert "set MLFLOW_TRACKING_SERVER_CERT_PATH" in complaint(
        capsys, promote, "--history", "--tracking-uri", unknown
    )


def test_a_database_locked_at_opening_is_named(copied, capsys):
    uri = copied()
    other = sqlite3.connect(uri.removeprefix("sqlite:///"))
    other.execute("BEGIN EXCLUSIVE")
    said = complaint(capsys, lineage, "models:/sttn/1", "--tracking-uri", uri)
    assert "is locked by another process: wait for it or end it" in said
    other.close()


def test_a_write_on_a_full_disk_is_one_line(new_store, tmp_path):
    """In a separate process with a file size limit, as on a full disk."""
    uri = new_store(tmp_path / "store")
    foreign.register(uri, tmp_path / "model")
    version = connection.client(uri).get_model_version("sttn", "1")
    connection.client(uri).set_registered_model_alias("sttn", "champion", version.version)
    connection.client(uri).set_registered_model_alias("sttn", "previous", version.version)
    code = f"""
        import resource, sys
        from mlops import promote
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, -1))
        sys.exit(promote.main(["--rollback", "--tracking-uri", {uri!r}]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "free some space and run the same command again" in done.stderr


COMMANDS = {
    "mlops.evaluate": ["--data", "{data}", "--workers", "1"],
    "mlops.promote": [],
    "mlops.prune": [],
    "mlops.lineage": ["models:/sttn/1"],
    "mlops.report": ["models:/sttn/1", "--out", "{folder}/page.html"],
    "training.import_weights": ["{weights}"],
    "training.export": ["{checkpoint}", "--frame-size", "96", "96"],
    "training.run": ["smoke", "--data", "{data}", "--storage", "{folder}/runs"],
    "data_pipeline.run": ["remove", "{data}"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_reports_store_errors_in_one_line(
    command, copied, answering, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(handmade, "HEIGHT", 96)
    monkeypatch.setattr(handmade, "WIDTH", 96)
    monkeypatch.setattr(locks, "_WAIT_S", 0)
    handmade.make(str(tmp_path / "tiny" / "v1"))
    places = {
        "data": f"{tmp_path}/tiny/v1",
        "folder": tmp_path,
        "checkpoint": f"{RUN}/checkpoints/clips-000000004",
        "weights": tmp_path / "sttn.pth",
    }
    torch.save({"netG": random_weights("generator")}, places["weights"])
    words = [word.format(**places) for word in COMMANDS[command]]
    module = importlib.import_module(command)
    shared = [] if "training" in command or "data" in command else ["--leases", f"{tmp_path}/l"]
    if command in ("mlops.lineage", "mlops.report"):
        shared = []
    login = f"http://127.0.0.1:{answering(200, PAGE)}"
    for uri, said in ((copied(REVISION.format("ffffffffffff")), "newer MLflow"), (login, "login?")):
        assert said in complaint(capsys, module, *words, "--tracking-uri", uri, *shared)
