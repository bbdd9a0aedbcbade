"""Reading ahead and writing behind: order, bounds, errors."""

import threading
import time

import pytest

from mlops.media.overlap import ahead, behind


def threads():
    return [one.name for one in threading.enumerate() if one.name.startswith(("ahead", "behind"))]


def test_items_come_in_order_with_bounded_prefetch():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    with ahead(items(), 3) as found:
        for number, item in enumerate(found):
            assert item == number
            time.sleep(0.002)
            assert len(made) <= number + 4
    assert found.busy_s > 0
    assert threads() == []


def test_a_producer_error_is_raised_in_order():
    def items():
        yield 0
        yield 1
        raise ValueError("damaged")

    got = []
    with pytest.raises(ValueError, match="damaged"), ahead(items(), 8) as found:
        got.extend(found)
    with ahead(items(), 8) as found:
        got.extend(item for _, item in zip(range(2), found, strict=False))
    assert got == [0, 1, 0, 1]
    assert threads() == []


def test_all_items_are_written_in_order_by_the_end_of_the_block():
    done = []
    with behind(lambda item: (time.sleep(0.002), done.append(item)), 2) as writing:
        for number in range(10):
            writing.put(number)
            assert number - len(done) <= 3
    assert done == list(range(10))
    assert writing.busy_s > 0
    assert threads() == []


def test_the_last_put_does_not_block_with_a_queue_of_one():
    meanwhile = threading.Event()
    with behind(lambda _: meanwhile.wait(5), 1) as writing:
        writing.put(0)
        writing.put(1)  # the first one is still being worked on
        meanwhile.set()


def test_a_write_error_stops_writing_and_is_raised_once():
    done = []

    def write(item):
        if item == 2:
            raise OSError("full")
        done.append(item)

    def run():
        with behind(write, 8) as writing:
            for number in range(5):
                writing.put(number)

    with pytest.raises(OSError, match="full"):
        run()
    assert done == [0, 1]
    assert threads() == []


def test_an_error_in_the_block_takes_precedence():
    started = threading.Event()

    def write(_):
        started.set()
        raise OSError("full")

    def run():
        with behind(write, 8) as writing:
            writing.put(0)
            started.wait(5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert threads() == []
