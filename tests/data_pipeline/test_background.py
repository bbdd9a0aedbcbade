import threading

import pytest

from data_pipeline.cli.background import in_background


def test_work_runs_for_the_time_of_the_block_and_is_waited_for():
    begun, ended = threading.Event(), []

    def work(over):
        begun.set()
        over.wait(5)
        ended.append(over.is_set())

    with in_background("some work", work):
        assert begun.wait(5)
        assert "some work" in [one.name for one in threading.enumerate()]
        assert ended == []
    assert ended == [True]


def test_an_error_of_the_block_ends_the_work_too():
    ended = []
    with (
        pytest.raises(ValueError, match="of the block"),
        in_background("some work", lambda over: ended.append(over.wait(5))),
    ):
        raise ValueError("of the block")
    assert ended == [True]
