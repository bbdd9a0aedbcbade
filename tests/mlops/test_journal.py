"""Lines on their way: order, outages, crashes; with MLflow's store where that matters."""

import json
import subprocess
import sys
import threading
import time

import pytest

from mlops import names, runs, tracking
from mlops.journal import Journal, Taken
from mlops.runs import Point


def line(number):
    return {"number": number}


class Receiver:
    """Takes lines, or fails while it is away."""

    def __init__(self):
        self.got, self.away = [], False

    def __call__(self, lines):
        if self.away:
            raise ConnectionError("refused")
        self.got += [one["number"] for one in lines]


@pytest.fixture
def receiver():
    return Receiver()


def test_lines_come_in_order_and_leave_nothing_behind(tmp_path, receiver):
    journal = Journal(tmp_path, receiver)
    for number in range(500):
        journal.append(line(number))
    assert journal.close(10) == 0
    assert receiver.got == list(range(500))
    assert list(tmp_path.iterdir()) == []


def test_who_writes_never_waits_for_a_receiver_that_hangs(tmp_path):
    hang = threading.Event()
    journal = Journal(tmp_path, lambda _lines: hang.wait())
    began = time.monotonic()
    for number in range(100):
        journal.append(line(number))
    assert time.monotonic() - began < 1
    assert journal.close(0.1) == 100
    hang.set()


def test_what_was_not_sent_is_sent_by_the_next_once(tmp_path, receiver):
    receiver.away = True
    journal = Journal(tmp_path, receiver)
    for number in range(3):
        journal.append(line(number))
    assert journal.close(5) == 3
    assert "refused" in journal.trouble
    receiver.away = False
    again = Journal(tmp_path, receiver)
    again.append(line(3))
    assert again.close(5) == 0
    assert receiver.got == [0, 1, 2, 3]


def test_an_outage_ends_by_itself(tmp_path, receiver):
    receiver.away = True
    journal = Journal(tmp_path, receiver)
    journal.append(line(0))
    while not journal.trouble:
        time.sleep(0.01)
    receiver.away = False
    journal.append(line(1))
    end = time.monotonic() + 10
    while receiver.got != [0, 1] and time.monotonic() < end:
        time.sleep(0.01)
    assert receiver.got == [0, 1]
    assert journal.trouble == ""
    journal.close(5)


def test_a_line_cut_by_a_kill_is_dropped_and_the_next_is_whole(tmp_path, receiver):
    (tmp_path / "lines.jsonl").write_text('{"number": 0}\n{"numb')
    journal = Journal(tmp_path, receiver)
    journal.append(line(1))
    assert journal.close(5) == 0
    assert receiver.got == [0, 1]


def test_a_file_begun_anew_but_not_ticked_off_is_sent_from_its_start(tmp_path, receiver):
    (tmp_path / "lines.jsonl").write_text(json.dumps(line(7)) + "\n")
    (tmp_path / "sent").write_text("5000000")
    assert Journal(tmp_path, receiver).close(5) == 0
    assert receiver.got == [7]


def test_a_long_run_keeps_a_short_file(tmp_path, receiver, monkeypatch):
    monkeypatch.setattr("mlops.journal._MOST_BYTES", 1000)
    journal = Journal(tmp_path, receiver)
    for number in range(300):
        journal.append(line(number))
        while receiver.got[-1:] != [number]:
            time.sleep(0.001)
    assert (tmp_path / "lines.jsonl").stat().st_size < 2000
    assert journal.close(5) == 0
    assert receiver.got == list(range(300))


def test_a_folder_that_cannot_be_made_loses_lines_and_stops_nobody(tmp_path, receiver):
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "journal", receiver)
    journal.append(line(0))
    journal.append(line(1))
    assert journal.close(5) == 0
    assert journal.lost == 2
    assert "NotADirectoryError" in journal.trouble


def test_a_point_that_is_sent_twice_is_in_mlflow_once(store):
    """The process is killed after sending, before it ticks the line off."""
    run_id = runs.ensure(store, run_name="demo", kind=names.KIND_TRAINING, tags={})
    points = [Point(clips, 1000 + clips, {names.LOSS_HOLE: 1 / clips}) for clips in (4, 8)]
    runs.log_points(store, run_id, points[:1])
    runs.log_points(store, run_id, points)
    history = tracking.client(store).get_metric_history(run_id, names.LOSS_HOLE)
    assert [(one.step, one.value) for one in history] == [(4, 0.25), (8, 0.125)]


def test_a_folder_belongs_to_one_process_at_a_time_and_to_nobody_after_its_end(tmp_path, receiver):
    code = (
        "import sys; from pathlib import Path; from mlops.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]), lambda lines: 1 / 0)\n"
        "journal.append({'number': 0}); print('there', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(Taken, match="belongs to another process"):
            Journal(tmp_path, receiver)
        other.kill()
    journal = Journal(tmp_path, receiver)
    assert journal.close(5) == 0
    assert receiver.got == [0]
