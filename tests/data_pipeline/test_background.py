import threading

import pytest

from data_pipeline.cli.background import in_background


def test_background_work_runs_during_the_block_and_is_joined():
    started, ended = threading.Event(), []

    def work(over):
        started.set()
        over.wait(5)
        ended.append(over.is_set())

    with in_background("some work", work):
        assert started.wait(5)
        assert "some work" in [one.name for one in threading.enumerate()]
        assert ended == []
    assert ended == [True]


def test_an_error_in_the_block_stops_background_work():
    ended = []
    with (
        pytest.raises(ValueError, match="of the block"),
        in_background("some work", lambda over: ended.append(over.wait(5))),
    ):
        raise ValueError("of the block")
    assert ended == [True]
