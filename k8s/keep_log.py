"""Runs another command as a job of Ray, and keeps its log in the storage.

python k8s/keep_log.py -- sttn-train youtube-vos --name first   # the entrypoint of the chart's jobs

The log of a job is a file on the head of its cluster, and goes with it. It is copied every minute
and at the end to STORAGE/logs/JOB.log, whatever happens to the command. Signals and the exit code
are passed on. A storage that fails is a line in the log, and never ends the command.
"""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from data_pipeline.cli.command import UserError, parse, run_command
from k8s.config import KeepLogConfig

_STDOUT = Path("/proc/self/fd/1")
_PREFIX = "job-driver-"  # of the file that Ray writes a job's output to
_PATIENCE_S = 20.0  # timeout of a copy: the cluster waits for the last one


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code of the other one."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    at = list(argv).index("--") if "--" in argv else len(argv)
    config = parse(KeepLogConfig, argv[:at], prog="k8s/keep_log.py", description=str(__doc__))
    command = argv[at + 1 :]
    if not command:
        raise UserError("no command to run: give one, as sttn-keep-log -- sttn-train demo")
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        raise UserError(f"{command[0]} cannot be started: {error.strerror}") from error
    _forward_signals(child)
    log = _log_file()
    if log is None or not config.storage:
        return _exit_code(child.wait(), command[0])
    return _kept(child, command[0], log, config)


def _kept(child: "subprocess.Popen[bytes]", name: str, log: Path, config: KeepLogConfig) -> int:
    from data_pipeline.storage import lake

    uri = lake.join(config.storage, "logs", f"{log.stem.removeprefix(_PREFIX)}.log")
    ended = threading.Event()
    copier = threading.Thread(target=_copy_until, args=(ended, log, uri, config.every_seconds))
    copier.start()
    try:
        code = _exit_code(child.wait(), name)
    finally:
        ended.set()
        copier.join()
    _copy(log, uri)
    return code


def _copy_until(ended: threading.Event, log: Path, uri: str, every_s: float) -> None:
    size, pause = -1, every_s
    while not ended.wait(pause):
        began = time.monotonic()
        if (now := log.stat().st_size) != size:
            _copy(log, uri)
            size = now
        # The log is copied whole: at most a tenth of the time goes into that.
        pause = max(every_s, 10 * (time.monotonic() - began))


def _copy(log: Path, uri: str) -> None:
    from data_pipeline.storage import lake

    try:
        with lake.within(_PATIENCE_S):
            lake.write_bytes(uri, log.read_bytes())
    except Exception as error:
        # Whatever it is, the command that runs is worth more than its log.
        sys.stderr.write(f"the log is not kept at {uri}: {' '.join(str(error).split())}\n")
        sys.stderr.flush()


def _log_file() -> Path | None:
    """Return the file that stdout is written to, which is what Ray makes it; else None."""
    return _STDOUT.readlink() if _STDOUT.is_file() else None


def _forward_signals(child: "subprocess.Popen[bytes]") -> None:
    def forward(number: int, _frame: FrameType | None) -> None:
        if child.poll() is None:
            child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)


def _exit_code(code: int, name: str) -> int:
    if code >= 0:
        return code
    by = signal.Signals(-code).name
    memory = ": out of memory?" if -code == signal.SIGKILL else ""
    sys.stderr.write(f"{name} was ended by {by}{memory}\n")
    sys.stderr.flush()
    return 128 - code


if __name__ == "__main__":
    sys.exit(main())
