import json
import time

import pytest

from tests.faults.processes import finish
from tests.faults.sharding import start
from tests.tiny import write_videos

LENGTHS = (60, 70, 80, 60, 90, 50)


@pytest.fixture(scope="package")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("videos"), LENGTHS)


@pytest.fixture(scope="package")
def undisturbed(videos, tmp_path_factory):
    """(digest, seconds) of a run that nobody disturbed."""
    began = time.monotonic()
    code, out, err = finish(start(videos, tmp_path_factory.mktemp("whole") / "v1"))
    assert code == 0, err
    return json.loads(out.splitlines()[-1])["digest"], time.monotonic() - began
