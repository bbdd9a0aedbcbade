"""Two processes build one version at the same time."""

import signal
import time

import pytest

from data_pipeline.format import manifest
from data_pipeline.inspection.verify import verify
from tests.faults.processes import finish
from tests.faults.sharding import start


@pytest.mark.faults
@pytest.mark.distributed
def test_a_second_writer_is_refused_while_the_first_builds(videos, tmp_path):
    output = tmp_path / "v1"
    first = start(videos, output)
    while not list(output.glob(f"{manifest.LEASE}/*.json")):
        assert first.poll() is None, finish(first)
        time.sleep(0.05)
    # Paused, so that the second writer meets it at work.
    first.send_signal(signal.SIGSTOP)
    code, out, err = finish(start(videos, output))
    first.send_signal(signal.SIGCONT)
    assert (code, out) == (1, ""), err
    last = err.splitlines()[-1]
    assert last.startswith(f"refused: data set {output} is held by process {first.pid} on ")
    code, out, err = finish(first)
    assert code == 0, err
    assert verify(str(output)).differences == ()
    code, out, err = finish(start(videos, output))
    assert (code, "already there" in out) == (0, True), err
