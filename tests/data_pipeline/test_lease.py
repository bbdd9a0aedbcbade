import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest

from data_pipeline.cli.command import UserError
from data_pipeline.storage import lake
from data_pipeline.storage import lease as room
from data_pipeline.storage.lease import Held, LeaseLost, lease

LONG = 600.0  # seconds that no test lasts


@pytest.fixture(params=["disk", "s3"])
def place(request, tmp_path):
    """A folder for a lease, on disk and on S3."""
    if request.param == "disk":
        return str(tmp_path / "lease")
    return lake.join(request.getfixturevalue("s3"), tmp_path.name)


@pytest.fixture
def on_disk(tmp_path):
    """A folder for a lease on disk, for tests that do not depend on the store."""
    return str(tmp_path / "lease")


# Start of the code of each test process; `away` makes it count as one on another host.
BEGIN = """
import json, os, sys, time
from dataclasses import replace
from data_pipeline.storage import lease as room
from data_pipeline.storage.lease import Held, LeaseLost, lease
def away(name):
    here = room._this_process
    room._this_process = lambda: replace(here(), boot=name)
def say(*words): print(*words, flush=True)
place, arguments = sys.argv[1], sys.argv[2:]
"""


@contextmanager
def process(code, *arguments):
    """A process that runs `code`; killed at the end."""
    running = subprocess.Popen(
        [sys.executable, "-c", BEGIN + code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with running:
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture
def elsewhere(monkeypatch):
    """This process counts as one on another host from now on."""

    def move():
        here = room._this_process()
        monkeypatch.setattr(room, "_this_process", lambda: replace(here, boot="elsewhere"))

    return move


def test_a_released_lease_can_be_taken_again(place):
    tokens = []
    for _ in range(3):
        with lease(place, what="data set", seconds=LONG) as held:
            held.check()
            tokens.append(held.token)
    assert tokens == [1, 3, 5]
    # The last entry stays, so that numbers only grow.
    assert lake.list_files(place) == ["000000000006.json"]


def test_an_exception_releases_the_lease(place):
    with pytest.raises(KeyError), lease(place, what="data set", seconds=LONG):
        raise KeyError
    with lease(place, what="data set", seconds=LONG):
        pass


def test_a_lease_held_in_this_process_is_refused(place):
    with lease(place, what="data set /x/y", seconds=LONG):
        since = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC by its clock"
        says = rf"data set /x/y is held by process {os.getpid()} on \S+, {since}: wait"
        with pytest.raises(Held, match=says), lease(place, what="data set /x/y", seconds=LONG):
            pass
    with lease(place, what="data set /x/y", seconds=LONG):
        pass


def test_a_lease_held_on_another_host_is_refused_while_renewed(on_disk, elsewhere):
    with lease(on_disk, what="data set", seconds=1.5) as held:
        elsewhere()
        for _ in range(2):
            with pytest.raises(Held), lease(on_disk, what="data set", seconds=1.5):
                pass
        time.sleep(1.6)
        held.check()
        # The newest, the one before for those who have just listed it, and one about to go.
        assert len(lake.list_files(on_disk)) <= 3


def test_a_waiting_process_gets_a_released_lease(on_disk, elsewhere):
    first = ExitStack()
    first.enter_context(lease(on_disk, what="data set", seconds=LONG))
    elsewhere()
    looks = []

    def highest(uri):
        looks.append(uri)
        if len(looks) == 3:
            first.close()
        return look(uri)

    with pytest.MonkeyPatch.context() as patch:
        look = room._highest
        patch.setattr(room, "_highest", highest)
        patch.setattr(room.time, "sleep", lambda _: None)
        with lease(on_disk, what="data set", seconds=LONG) as held:
            held.check()


def test_a_lease_of_a_killed_local_process_is_taken_at_once(place):
    code = "with lease(place, what='x', seconds=600): say('held'); time.sleep(600)"
    with process(code, place) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Held, match=f"process {holder.pid} "), lease(place, what="x"):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        # Not waited for yet: it is a zombie.
        while room._alive(room._highest(place)[1].process):
            time.sleep(0.01)
        with lease(place, what="x", seconds=LONG) as held:
            assert held.token == 2


def test_a_lease_of_a_killed_remote_process_is_taken_after_its_expiry(on_disk):
    code = """
away('far')
with lease(place, what='x', seconds=1) as held:
    say(held.token)
    os.kill(os.getpid(), 9)
"""
    with process(code, on_disk) as holder:
        before = int(holder.stdout.readline())
        holder.wait()
        start = time.monotonic()
        with lease(on_disk, what="x", seconds=1.0) as held:
            assert held.token > before
            assert time.monotonic() - start >= 1.0


def test_a_reused_pid_is_another_process(on_disk):
    with lease(on_disk, what="x", seconds=LONG):
        here = room._this_process()
        assert room._alive(here)
        assert not room._alive(replace(here, started=here.started - 1))


def test_a_paused_holder_notices_that_it_lost_the_lease(on_disk):
    code = """
away('far')
with lease(place, what='x', seconds=1.5) as held:
    held.check()
    say(held.token)
    sys.stdin.readline()
    try: held.check()
    except LeaseLost as error: say(error)
"""
    with process(code, on_disk) as holder:
        before = int(holder.stdout.readline())
        os.kill(holder.pid, signal.SIGSTOP)
        with lease(on_disk, what="x", seconds=1.5) as held:
            assert held.token > before
            os.kill(holder.pid, signal.SIGCONT)
            said, _ = holder.communicate("go\n")
            assert "x: the lease is lost, it was" in said
            assert said.endswith("run the same command again\n")
            held.check()
        assert holder.returncode == 0


def test_a_higher_number_ends_the_lease(place):
    """The old holder's next number is free again: only listing the entries shows the loss."""
    with lease(place, what="x", seconds=LONG) as held:
        _, entry = room._highest(place)
        room._create(place, 7, replace(entry, owner="another", host="far"))
        with pytest.raises(LeaseLost, match=r"it was taken over by process .* on far"):
            held.check()
    assert lake.list_files(place)[-1] == "000000000007.json"
    assert room._highest(place)[1].owner == "another"


def test_a_slow_taker_yields_to_a_later_holder(place, monkeypatch):
    """Between its listing and its create another process took a number, renewed, and deleted it."""
    with lease(place, what="x", seconds=LONG):
        pass
    look = room._free_number

    def slow(*arguments):
        monkeypatch.setattr(room, "_free_number", look)
        number = look(*arguments)
        entry = replace(room._highest(place)[1], owner="another", released=False)
        room._create(place, number + 3, replace(entry, process=room._this_process()))
        return number

    monkeypatch.setattr(room, "_free_number", slow)
    with pytest.raises(Held), lease(place, what="x", seconds=LONG):
        pass


def test_a_lease_survives_a_short_outage(on_disk, monkeypatch):
    create, ill = lake.create_bytes, []

    def sometimes(uri, data):
        if time.monotonic() < end:
            ill.append(uri)
            raise lake.TransientError("not now")
        create(uri, data)

    with lease(on_disk, what="x", seconds=2.0) as held:
        end = time.monotonic() + 1.3
        monkeypatch.setattr(lake, "create_bytes", sometimes)
        time.sleep(2.2)
        assert ill
        held.check()


def test_a_lease_is_lost_in_a_long_outage(on_disk, monkeypatch):
    def never(*_):
        raise lake.TransientError("not now")

    with lease(on_disk, what="x", seconds=0.6) as held:
        held.check()
        monkeypatch.setattr(lake, "create_bytes", never)
        time.sleep(0.8)
        # It was not taken; but it might have been by now.
        with pytest.raises(LeaseLost, match=r"it was not renewed for 0\.6 s"):
            held.check()
        monkeypatch.undo()
        time.sleep(0.4)
        with pytest.raises(LeaseLost):
            held.check()


def test_a_renewal_with_a_lost_answer_keeps_the_lease(place, monkeypatch):
    create, lost = lake.create_bytes, []

    def forgetful(uri, data):
        create(uri, data)
        if len(lost) < 2:
            lost.append(uri)
            raise lake.TransientError("no answer")

    with lease(place, what="x", seconds=1.5) as held:
        monkeypatch.setattr(lake, "create_bytes", forgetful)
        end = time.monotonic() + 10
        while len(lost) < 2 and time.monotonic() < end:
            held.check()
            time.sleep(0.1)
        assert len(lost) == 2
        held.check()
    assert room._highest(place)[1].released


def test_a_forked_process_does_not_hold_the_lease(tmp_path):
    code = """
with lease(place, what='x', seconds=600) as held:
    parent = os.getpid()
    child = os.fork()
    if not child:
        try: held.check()
        except LeaseLost as error: say(error)
    else:
        os.waitpid(child, 0)
        held.check()
        say(room._highest(place)[1].released)
"""
    with process(code, str(tmp_path)) as holder:
        said = holder.communicate()[0].splitlines()
    assert re.search("it belongs to the process that this one was forked from", said[0])
    assert said[1] == "False"
    assert room._highest(str(tmp_path))[1].released


def test_an_unknown_lease_entry_is_refused_and_other_files_are_ignored(place):
    lake.write_bytes(lake.join(place, "notes.txt"), b"")
    with lease(place, what="x", seconds=LONG):
        pass
    lake.write_bytes(lake.join(place, "000000000009.json"), b"{}")
    with (
        pytest.raises(UserError, match="not of this version"),
        lease(place, what="x"),
    ):
        pass


def test_at_most_one_process_holds_the_lease(place):
    """Eight processes at once, on three hosts; each holds it twice."""
    code = """
if arguments[0] != "0": away("host" + arguments[0])
turns = 0
sys.stdin.readline()
while turns < 2:
    try:
        with lease(place, what="x", seconds=4) as held:
            start = room._now()
            time.sleep(0.02)
            held.check()
            say(json.dumps([held.token, start, room._now()]))
            turns += 1
    except Held:
        time.sleep(0.2)
"""
    with ExitStack() as stack:
        all_of_them = [
            stack.enter_context(process(code, place, str(number % 3))) for number in range(8)
        ]
        for running in all_of_them:
            running.stdin.write("go\n")
            running.stdin.flush()
        said = [running.communicate()[0].splitlines() for running in all_of_them]
        assert [running.returncode for running in all_of_them] == [0] * 8
    turns = sorted((json.loads(line) for lines in said for line in lines), key=lambda t: t[1])
    assert len(turns) == 16
    for before, after in pairwise(turns):
        assert before[2] < after[1], "two held it at once"
        assert before[0] < after[0], "a token did not grow"


def test_a_worker_with_a_claim_notices_that_the_lease_was_lost(place):
    with lease(place, what="run 'demo'", seconds=LONG) as held:
        claim = held.claim()
        claim.check()
    with pytest.raises(LeaseLost, match="'demo' was released by the process that this one works"):
        claim.check()
    says = f"taken over by process {os.getpid()} on "
    with lease(place, what="run 'demo'", seconds=LONG), pytest.raises(LeaseLost, match=says):
        claim.check()
