"""The whole command on a real Ray Serve: promotion and rollback under load, deaths, restart."""

import concurrent.futures
import os
import signal
import time

import pytest
import requests

from mlops.tracking import names, registry
from tests.faults.processes import descendants, finish, free_port, start_command
from tests.mlops import foreign
from tests.mlops.serving.in_process import Client
from tests.tiny import write_video

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

BOX = "20,10,24,16"
MINUTE = 60.0  # within which a change of the alias is taken up
START_S = 150


@pytest.fixture
def store(new_store, tmp_path, monkeypatch):
    # `mlflow.set_tracking_uri` writes this variable; the next test must not read it.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    return new_store(tmp_path / "store")


@pytest.fixture
def film(tmp_path):
    return write_video(tmp_path / "film.mp4", frames=6, width=96, height=64)


@pytest.fixture
def versions(store, tmp_path):
    """Two versions, the first of which is the champion."""
    made = [
        foreign.register(store, tmp_path / f"m{number}", body, size=(48, 32), clips=number)
        for number, body in enumerate((foreign.BLACK, foreign.GREY), 1)
    ]
    registry.set_alias(store, made[0], names.CHAMPION)
    return made


@pytest.fixture
def served(store, versions, tmp_path):  # noqa: ARG001 (they are there before it)
    """The command; gives a client and what starts it again."""
    processes, port = [], free_port()
    client = Client(f"http://127.0.0.1:{port}")

    def start():
        flags = ("--folder", tmp_path / "service", "--port", port, "--tracking-uri", store,
                 "--max-replicas", 2, "--cpus", 1, "--max-jobs", 200)  # fmt: skip
        processes.append(start_command("mlops/serve.py", *flags))
        end = time.monotonic() + START_S
        while True:
            assert processes[-1].poll() is None, processes[-1].communicate()
            assert time.monotonic() < end, "the service did not get ready"
            try:
                if client("GET", "/readyz").status_code == 200:
                    return processes[-1]
            except requests.ConnectionError:
                pass
            time.sleep(0.2)

    start()
    yield client, start, processes
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            assert finish(process, 60)[0] == 130


def job_of(client, film):
    """Submit and wait for the end; the first answer and the last."""
    answer = client.submit(film, boxes=BOX)
    assert answer.status_code == 202, answer.text
    first = answer.json()
    assert answer.headers["x-model-version"] == first["model"]
    return first, client.until(f"/v1/jobs/{first['id']}", "done", "failed")


def taken_up(client, version):
    """Seconds until new jobs get a version."""
    began = time.monotonic()
    while client("GET", "/readyz").json().get("model") != version.uri:
        assert time.monotonic() - began < MINUTE
        time.sleep(0.2)
    return time.monotonic() - began


def replicas(process):
    return [pid for pid, command in descendants(process.pid) if "VersionReplica" in command]


def test_promotion_and_rollback_under_50_requests_fail_none(served, store, versions, film):
    client, _, _ = served
    one, two = versions
    results = []

    def keep_asking():
        mine = Client(client.base)
        while not over:
            results.append(job_of(mine, film))

    over = []
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        asking = [pool.submit(keep_asking) for _ in range(50)]
        try:
            time.sleep(5)
            registry.set_alias(store, two, names.CHAMPION)
            promoted = taken_up(client, two)
            time.sleep(5)
            registry.set_alias(store, one, names.CHAMPION)
            back = taken_up(client, one)
            time.sleep(5)
        finally:
            over.append(True)
        for each in asking:
            each.result()
    print(f"{len(results)} jobs; promotion taken up in {promoted:.1f} s, rollback in {back:.1f} s")
    assert {last["state"] for _, last in results} == {"done"}
    assert all(first["model"] == last["model"] for first, last in results)
    assert {last["model"] for _, last in results} == {one.uri, two.uri}
    assert len(results) >= 50


def test_deaths_of_workers_gateway_and_command_lose_no_job(served, versions, tmp_path):
    client, start, processes = served
    film = write_video(tmp_path / "long.mp4", frames=1500, width=96, height=64)
    ids = [client.submit(film, boxes=BOX).json()["id"] for _ in range(3)]
    client.until(f"/v1/jobs/{ids[0]}", "running", "done")
    for pid in replicas(processes[0])[:1]:
        os.kill(pid, signal.SIGKILL)
    below = descendants(processes[0].pid)
    gateways = [pid for pid, said in below if "ServeReplica:sttn-gateway" in said]
    assert len(gateways) == 1
    os.kill(gateways[0], signal.SIGKILL)
    end = time.monotonic() + START_S
    while True:  # Serve starts it again, on the same port
        try:
            if client("GET", "/readyz").status_code == 200:
                break
        except requests.ConnectionError:
            assert time.monotonic() < end
            time.sleep(0.2)
    processes[0].send_signal(signal.SIGINT)
    code, _, err = finish(processes[0], 60)
    assert (code, "run the same command to resume" in err) == (130, True), err
    start()
    for one in ids:
        done = client.until(f"/v1/jobs/{one}", "done", "failed")
        assert (done["state"], done["frames_done"]) == ("done", 1500), done["reason"]
        assert done["model"] == versions[0].uri


def test_a_version_that_cannot_be_loaded_is_not_taken_up(served, store, versions, film, tmp_path):
    client, _, _ = served
    broken = foreign.register(store, tmp_path / "m3", foreign.BLACK, clips=3)
    logged = broken.source.rpartition("/")[2]
    (code,) = (path for path in (tmp_path / "store").rglob("fill.py") if logged in str(path))
    code.write_text("raise RuntimeError('it does not load')\n")
    registry.set_alias(store, broken, names.CHAMPION)
    end = time.monotonic() + MINUTE
    while not (problem := client("GET", "/v1/service").json()["problem"]):
        assert time.monotonic() < end
        time.sleep(0.5)
    assert broken.uri in problem
    assert "it does not load" in problem
    assert "sttn_model_problem 1.0" in client("GET", "/metrics").text
    first, last = job_of(client, film)
    assert (first["model"], last["state"]) == (versions[0].uri, "done")
