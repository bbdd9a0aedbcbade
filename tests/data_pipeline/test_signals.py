"""Commands end by Ctrl-C, SIGTERM and a closed terminal with one line and the codes of a shell."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SLEEPS = """
import sys, time
from data_pipeline.cli import command
def body(argv):
    try:
        command.say("ready")
        time.sleep(30)
    finally:
        command.say("tidied")
        time.sleep(float(argv[0]))
    return 0
sys.exit(command.run_command(body))
"""


def start(*argv, code=SLEEPS, **more):
    process = subprocess.Popen(
        [sys.executable, "-c", code, *argv],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        **more,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_request_to_end_unwinds_and_is_one_line(number):
    process = start("0")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == CODES[number]
    assert out == "tidied\n"
    assert err == f"interrupted by {number.name}; run the same command to resume\n"


def test_one_request_may_come_twice_and_another_one_ends_the_tidying():
    process = start("30")
    process.send_signal(signal.SIGHUP)  # of the kernel, and of the shell
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "tidied\n"
    time.sleep(1.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == CODES[signal.SIGHUP]  # why it ends


def test_what_nohup_ignores_stays_ignored():
    process = start("0", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == CODES[signal.SIGTERM]


def test_a_library_that_takes_signals_does_not_keep_them():
    takes = SLEEPS.replace(
        "    try:",
        "    import signal\n"
        "    from data_pipeline.cli import signals\n"
        "    with signals.kept():\n"
        "        for number in signals.ENDING:\n"
        "            signal.signal(number, lambda *_: sys.exit(7))\n"
        "    try:",
    )
    assert takes != SLEEPS
    process = start("0", code=takes)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == CODES[signal.SIGTERM]


def test_a_command_that_has_its_own_line_keeps_the_code_of_the_signal():
    own = SLEEPS.replace(
        "    finally:", "    except KeyboardInterrupt:\n        return 130\n    finally:"
    )
    process = start("0", code=own)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (CODES[signal.SIGTERM], "")
