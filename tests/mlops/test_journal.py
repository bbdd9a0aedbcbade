"""Buffered metrics on their way to MLflow: order, outages, crashes."""

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mlops.tracking import connection, names, runs
from mlops.tracking.journal import Journal, Taken, Unsendable
from mlops.tracking.runs import Point
from tests.faults.processes import ROOT
from training.observe import journals


def line(number):
    return {"number": number}


class Receiver:
    """Takes lines, or fails while `away`."""

    def __init__(self):
        self.got, self.away = [], False

    def __call__(self, lines):
        if self.away:
            raise ConnectionError("refused")
        self.got += [one["number"] for one in lines]


@pytest.fixture
def receiver():
    return Receiver()


def test_lines_arrive_in_order_and_the_folder_is_emptied(tmp_path, receiver):
    journal = Journal(tmp_path, receiver)
    for number in range(500):
        journal.append(line(number))
    assert journal.close(10) == 0
    assert receiver.got == list(range(500))
    assert list(tmp_path.iterdir()) == []


def test_append_never_blocks_on_a_hanging_receiver(tmp_path):
    hang = threading.Event()
    journal = Journal(tmp_path, lambda _lines: hang.wait())
    began = time.monotonic()
    for number in range(100):
        journal.append(line(number))
    assert time.monotonic() - began < 1
    assert journal.close(0.1) == 100
    hang.set()


def test_unsent_lines_are_sent_once_by_the_next_journal(tmp_path, receiver):
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


def test_sending_recovers_after_an_outage(tmp_path, receiver):
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


def test_a_truncated_line_of_the_old_format_is_dropped(tmp_path, receiver):
    (tmp_path / "lines.jsonl").write_text('{"number": 0}\n{"numb')
    journal = Journal(tmp_path, receiver)
    journal.append(line(1))
    assert journal.close(5) == 0
    assert receiver.got == [0, 1]


def test_a_stale_offset_of_the_old_format_is_ignored(tmp_path, receiver):
    (tmp_path / "lines.jsonl").write_text(json.dumps(line(7)) + "\n")
    (tmp_path / "sent").write_text("5000000")
    assert Journal(tmp_path, receiver).close(5) == 0
    assert receiver.got == [7]


def test_the_file_stays_small_during_a_long_run(tmp_path, receiver):
    journal = Journal(tmp_path, receiver)
    for number in range(300):
        journal.append(line(number) | {"long": "x" * 10_000})
        while receiver.got[-1:] != [number]:
            time.sleep(0.001)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 10**6
    assert journal.close(5) == 0
    assert receiver.got == list(range(300))


def test_an_unwritable_folder_loses_lines_without_raising(tmp_path, receiver):
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "journal", receiver)
    journal.append(line(0))
    journal.append(line(1))
    assert journal.close(5) == 0
    assert journal.lost == 2
    assert "NotADirectoryError" in journal.trouble


# Writes lines while a file size limit cuts one of them off.
_FULL = """
import resource, sys, threading
from pathlib import Path
from mlops.tracking.journal import Journal

def away(lines):
    threading.Event().wait()  # an error of its own would be reported instead of the disk's

journal = Journal(Path(sys.argv[1]), away)
journal.append({"number": 0})
log = journal.folder / "lines.sqlite-wal"
whole = log.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 7, -1))
journal.append({"number": 1, "long": "x" * 50})
journal.append({"number": 2, "long": "x" * 50})
assert log.stat().st_size == whole + 7  # a part of it is there
assert journal.lost == 2, journal.lost
assert "disk I/O error" in journal.trouble, journal.trouble
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
for number in (3, 4):
    journal.append({"number": number})
assert journal.close(0) == 3
"""


def test_a_full_disk_loses_only_the_lines_it_cuts_off(tmp_path, receiver):
    folder = tmp_path / "journal"
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    journal = Journal(folder, receiver)
    journal.append(line(5))
    assert journal.close(10) == 0
    assert receiver.got == [0, 3, 4, 5]
    assert journal.lost == 0


def test_a_line_written_over_a_truncated_one_is_whole(tmp_path, receiver):
    (tmp_path / "lines.jsonl").write_text('{"number": 0}\n{"number": 11111111111111111111111')
    receiver.away = True
    journal = Journal(tmp_path, receiver)
    journal.append(line(1))
    assert journal.close(10) == 2
    receiver.away = False
    assert Journal(tmp_path, receiver).close(10) == 0
    assert receiver.got == [0, 1]


def test_two_joined_lines_of_the_old_format_are_skipped(tmp_path, receiver):
    torn = '{"number": 1, "lo{"number": 2}'
    (tmp_path / "lines.jsonl").write_text(f'{{"number": 0}}\n{torn}\n{{"number": 3}}\n')
    journal = Journal(tmp_path, receiver)
    assert journal.close(10) == 0
    assert receiver.got == [0, 3]
    assert (journal.lost, "not a line" in journal.trouble) == (1, False)  # the next one was sent


def test_a_damaged_file_is_set_aside(tmp_path, receiver):
    (tmp_path / "lines.sqlite").write_bytes(b"no database" * 1000)
    journal = Journal(tmp_path, receiver)
    journal.append(line(1))
    assert journal.close(10) == 0
    assert receiver.got == [1]
    assert (tmp_path / "lines.sqlite.damaged").exists()


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", "\ud800", {("a", "b"): 1}])
def test_values_json_cannot_hold_are_lost_without_raising(tmp_path, receiver, value):
    journal = Journal(tmp_path, receiver)
    looped = []
    looped.append(looped)
    journal.append({"number": looped})
    journal.append({"number": 1, "value": value})
    journal.append(line(2))
    assert journal.close(10) == 0
    assert receiver.got[-1] == 2
    assert journal.lost == 2 - (1 in receiver.got)


@pytest.mark.parametrize("bad", [3, 0, 9])
def test_an_unsendable_line_does_not_block_the_others(tmp_path, bad):
    got, said_no = [], []

    def send(lines):
        numbers = [one["number"] for one in lines]
        if bad in numbers:
            said_no.append(numbers)
            raise Unsendable("no such metric")
        got.extend(numbers)

    journal = Journal(tmp_path, send)
    with journal._changed:  # all of them go together
        for number in range(10):
            journal.append(line(number))
    assert journal.close(10) == 0
    assert got == [number for number in range(10) if number != bad]
    assert journal.lost == 1
    assert said_no[-1] == [bad]


def test_deleting_the_file_loses_no_line(tmp_path, receiver):
    receiver.away = True
    journal = Journal(tmp_path, receiver)
    journal.append(line(0))
    for file in tmp_path.iterdir():
        file.unlink()  # as a cleaner of /tmp does
    journal.append(line(1))
    receiver.away = False
    assert journal.close(10) == 0
    assert receiver.got == [0, 1]


def test_nan_and_infinity_are_sent_as_mlflow_accepts_them(store, tmp_path):
    run_id = runs.ensure(store, run_name="demo", kind=names.KIND_TRAINING, tags={})
    folder = tmp_path / "journal"
    journal = journals._journal(store, run_id, folder)
    values = {"nan": float("nan"), "inf": float("inf"), "numpy": np.float32(0.5)}
    journal.append({"clips": 4, "time_ms": 1000, "values": values})
    assert journal.close(10) == 0
    found = connection.client(store).get_run(run_id).data.metrics
    assert (found["nan"] != found["nan"], found["inf"] > 1e300, found["numpy"]) == (True, True, 0.5)


def test_permanently_refused_points_are_dropped_and_a_deleted_run_is_waited_for(store, tmp_path):
    run_id = runs.ensure(store, run_name="demo", kind=names.KIND_TRAINING, tags={})
    known = connection.client(store)

    def point(clips, name):
        return {"clips": clips, "time_ms": clips, "values": {name: 1.0}}

    known.delete_run(run_id)
    journal = journals._journal(store, run_id, tmp_path / "journal")
    with journal._changed:
        journal.append(point(1, "good"))
        journal.append(point(2, "no such $ name"))
    (tmp_path / "journal" / "3.png").write_bytes(b"half a picture")
    journal.append({"clips": 3, "picture": "3.png"})
    journal.append(point(4, "good"))
    assert journal.close(5) == 4
    assert "is deleted in MLflow" in journal.trouble
    known.restore_run(run_id)
    journal = journals._journal(store, run_id, tmp_path / "journal")
    assert journal.close(30) == 0
    assert journal.lost == 1
    assert [one.step for one in known.get_metric_history(run_id, "good")] == [1, 4]


def test_a_point_that_is_sent_twice_is_in_mlflow_once(store):
    """The process is killed after sending, before it marks the line as sent."""
    run_id = runs.ensure(store, run_name="demo", kind=names.KIND_TRAINING, tags={})
    points = [Point(clips, 1000 + clips, {names.LOSS_HOLE: 1 / clips}) for clips in (4, 8)]
    runs.log_points(store, run_id, points[:1])
    runs.log_points(store, run_id, points)
    history = connection.client(store).get_metric_history(run_id, names.LOSS_HOLE)
    assert [(one.step, one.value) for one in history] == [(4, 0.25), (8, 0.125)]


def test_a_folder_is_locked_by_one_process_until_it_exits(tmp_path, receiver):
    code = (
        "import sys; from pathlib import Path; from mlops.tracking.journal import Journal\n"
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
