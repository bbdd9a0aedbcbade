"""stdout and stderr closed, full, or unable to encode: no traceback, right exit code."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")
PLAN = "training/run.py", "youtube-vos", "--plan", "--nodes", "1", "--gpus-per-node", "8"
NAMES_A_LETTER = "data_pipeline/run.py", "show", "/nowhere/\u00fc/v1"
COMMANDS = {
    "help": ("data_pipeline/run.py", "--help"),
    "plan": (*PLAN, "--json"),
    "help of promote": ("mlops/promote.py", "--help"),
}
SAYS = "from data_pipeline.cli.command import *\nfrom data_pipeline.cli.progress import progress\n"


def run(command, *, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environment):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "PYTHONSAFEPATH": "1", **environment},
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout or b"", (done.stderr or b"").decode(errors="replace")


def body(lines):
    """A command that runs `lines`."""
    inner = "\n".join(f"    {line}" for line in lines.splitlines())
    return "-c", f"{SAYS}def body(_argv):\n{inner}\n    return 0\nsys.exit(run_command(body, []))"


@contextlib.contextmanager
def broken_pipe():
    """The writing end of a pipe whose reader has closed."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_closed_stdout_ends_a_command_like_sigpipe(command):
    with broken_pipe() as pipe:
        code, _, err = run(command, stdout=pipe)
    assert (code, err) == (141, "")


@pytest.mark.skipif(not FULL.exists(), reason="Linux has it")
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_full_stdout_is_a_failure_in_one_line(command):
    with FULL.open("w") as full:
        code, _, err = run(command, stdout=full)
    assert code == 1
    assert err == "error: stdout cannot be written (No space left on device)\n"


def test_work_without_output_completes_with_a_closed_stdout(tmp_path):
    done = tmp_path / "done"
    lines = (
        "import pathlib, threading\n"
        "thread = threading.Thread(target=lambda: say('beside'), daemon=True)\n"
        "threading.excepthook = lambda _: None\n"
        "thread.start(); thread.join()\n"
        f"pathlib.Path({str(done)!r}).touch()\n"
        "say('the last line')"
    )
    with broken_pipe() as pipe:
        code, _, err = run(body(lines), stdout=pipe)
    assert (code, err) == (141, "")
    assert done.exists()


def test_other_exit_codes_are_kept_with_closed_or_full_output():
    with broken_pipe() as pipe:
        assert run(NAMES_A_LETTER, stdout=pipe)[0] == 2
        assert run(NAMES_A_LETTER, stderr=pipe)[0] == 2
        assert run(body("raise Refused('no')"), stdout=pipe)[0] == 1
    with FULL.open("w") as full:
        assert run(NAMES_A_LETTER, stdout=full, stderr=full)[0] == 2


SHOWN = "with progress('shard', 3, 'videos') as bar:\n    bar.advance(2, '\\u00fc')\nsay('made')"


@pytest.mark.parametrize("terminal", ["", "1"], ids=["lines", "bar"])
def test_a_closed_or_full_stderr_does_not_end_the_work(terminal):
    environment = {"FORCE_COLOR": terminal} if terminal else {}
    with broken_pipe() as pipe, FULL.open("w") as full:
        for stderr in (pipe, full):
            code, out, _ = run(body(SHOWN), stderr=stderr, **environment)
            assert (code, out) == (0, b"made\n")


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LANG": "C", "LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {},
    ],
    ids=["ascii", "latin-1", "C", "C without UTF-8", "as here"],
)
def test_unencodable_characters_are_escaped(environment):
    name = "\u00fc \u4e2d \udcff"  # the last stands for an undecodable byte of a file name
    code, out, err = run(body(f"say({name!a})\nprint_json({{'a': {name!a}}})"), **environment)
    assert (code, err) == (0, "")
    said, printed = out.splitlines()
    assert said.endswith(b"\\udcff")
    assert json.loads(printed) == {"a": name}
    code, _, err = run(NAMES_A_LETTER, **environment)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert run(body(SHOWN), FORCE_COLOR="1", **environment)[0] == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_descriptors_closed_at_the_start(closed):
    command = f'exec "{sys.executable}" data_pipeline/run.py --help {closed}'
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
