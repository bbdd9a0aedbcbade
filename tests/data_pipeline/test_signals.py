"""Ctrl-C, SIGTERM and SIGHUP end commands with one line and the exit codes of a shell."""

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
def test_a_signal_unwinds_and_prints_one_line(number):
    process = start("0")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == CODES[number]
    assert out == "tidied\n"
    assert err == f"interrupted by {number.name}; run the same command to resume\n"


def test_a_repeated_signal_is_ignored_and_another_ends_the_cleanup():
    process = start("30")
    process.send_signal(signal.SIGHUP)  # from the kernel, and from the shell
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "tidied\n"
    time.sleep(1.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == CODES[signal.SIGHUP]  # why it ends


def test_sighup_ignored_by_nohup_stays_ignored():
    process = start("0", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == CODES[signal.SIGTERM]


def test_signal_handlers_are_restored_after_a_library_replaces_them():
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


def test_a_command_with_its_own_message_keeps_the_signal_exit_code():
    own = SLEEPS.replace(
        "    finally:", "    except KeyboardInterrupt:\n        return 130\n    finally:"
    )
    process = start("0", code=own)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (CODES[signal.SIGTERM], "")
