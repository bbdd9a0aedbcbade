"""MLflow features that a run needs at its end are checked at its start; without Ray."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_pipeline.cli.command import Refused
from mlops.tracking import connection, names, runs
from tests.data_pipeline import handmade
from tests.training.test_launch import forget_patience
from training.checkpoints import record
from training.driver import launch
from training.run import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a data set that fits the smoke preset; no worker is started."""
    forget_patience(monkeypatch)
    for variable in ("MLFLOW_TRACKING_URI", "STTN_DATA", "STTN_STORAGE", "RAY_ADDRESS"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr(handmade, "HEIGHT", 96)
    monkeypatch.setattr(handmade, "WIDTH", 96)
    handmade.make(str(tmp_path / "tiny" / "v1"))

    def lost(*_):
        raise Refused("all workers are lost")

    monkeypatch.setattr(launch, "run_workers", lost)
    return tmp_path


def trained(place, uri, capsys, *flags):
    """(exit code, stderr) of the command."""
    capsys.readouterr()
    code = main(
        [
            "smoke", "--name", "run", "--data", f"{place}/tiny/v1", "--storage", f"{place}/runs",
            "--tracking-uri", uri, *flags,
        ]
    )  # fmt: skip
    return code, capsys.readouterr().err


class OldServer(BaseHTTPRequestHandler):
    """Knows experiments and the registry, and nothing that came with MLflow 3."""

    requests: list[str]

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.requests.append(self.path.partition("?")[0].removeprefix("/api/2.0/mlflow/"))
        experiment = {"experiment_id": "1", "name": "sttn", "lifecycle_stage": "active"}
        answers = {"experiments/get-by-name": {"experiment": experiment}}
        known = answers.get(self.requests[-1])
        data = b"<h1>Not Found</h1>" if known is None else json.dumps(known).encode()
        self.send_response(404 if known is None else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        self.do_GET()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def old_server():
    OldServer.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), OldServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_without_logged_models_is_refused_before_a_run_is_created(
    place, old_server, capsys
):
    code, err = trained(place, old_server, capsys)
    assert code == 2
    assert err == (
        f"error: MLflow at {old_server} knows no logged models, which versions are registered "
        "from: upgrade it to MLflow 3, or give another --tracking-uri\n"
    )
    assert "runs/create" not in OldServer.requests
    assert record.read(f"{place}/runs/run") is None


def test_an_artifact_store_that_takes_no_files_is_refused_at_the_start(place, new_store, capsys):
    uri = new_store(place / "store")
    (place / "store" / "mlartifacts").write_text("in the way")
    code, err = trained(place, uri, capsys)
    assert code == 2, err
    assert "mlartifacts" in err
    assert err.count("\n") == 1
    assert record.read(f"{place}/runs/run") is None
    (started,) = connection.client(uri).search_runs([connection.experiment_id(uri)])
    assert started.info.status == "FAILED"


def test_the_config_is_an_artifact_of_the_run(place, new_store, capsys):
    uri = new_store(place / "store")
    code, err = trained(place, uri, capsys)
    assert (code, err) == (1, "refused: all workers are lost\n")
    run_id = record.read(f"{place}/runs/run").run_id
    assert json.loads(runs.artifact(uri, run_id, names.CONFIG_JSON))["name"] == "run"


@pytest.mark.parametrize("what", ["run", "experiment", "gone"])
def test_resuming_with_a_missing_mlflow_run_names_the_restore_command(
    place, new_store, capsys, what
):
    uri = new_store(place / "store")
    assert trained(place, uri, capsys)[0] == 1
    started = record.read(f"{place}/runs/run")
    number, known = connection.experiment_id(uri), connection.client(uri)
    if what == "experiment":
        known.delete_experiment(number)
        cure = f"mlflow experiments restore --experiment-id {number}"
    else:
        known.delete_run(started.run_id)
        cure = f"mlflow runs restore --run-id {started.run_id}"
    if what == "gone":
        known._tracking_client.store._hard_delete_run(started.run_id)
        cure = "Give the --tracking-uri it was begun with, or another --name"
    code, err = trained(place, uri, capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert cure in err
    assert started.run_id in err or what == "experiment"
    assert record.read(f"{place}/runs/run") == started
