"""A log that is read by and by, and what is reported when it cannot be."""

import pytest

from data_pipeline.cli.command import UserError
from k8s.api import AwayError
from k8s.rayjob_log import JobLog

STATUS = {"jobId": "first-x", "rayClusterName": "c"}


class Head:
    """The head of a cluster behind the API server: answers, or fails with an error."""

    namespace = "team"

    def __init__(self):
        self.logs, self.code, self.error = "", None, None
        self.now, self.written, self.told = 0.0, "", []

    def call(self, *_):
        return None

    def through(self, service, path, _token):
        if self.error:
            raise self.error
        assert service == "c-head-svc:8265"
        return {"logs": self.logs} if path.endswith("/logs") else {"driver_exit_code": self.code}

    def write(self, text):
        self.written += text


@pytest.fixture
def head():
    return Head()


@pytest.fixture
def log(head):
    return JobLog(head, head.write, head.told.append, lambda: head.now)


def test_what_is_new_is_written_once_with_the_exit_code(head, log):
    for head.logs in ("a", "ab", "ab"):
        assert log.read(STATUS)
    head.code = 3
    assert log.read({**STATUS, "jobId": "second-y"})
    assert (head.written, log.code, head.told) == ("abab", 3, [])


def test_a_head_that_is_away_is_reported_after_a_while_and_once(head, log):
    head.error = AwayError("no answer")
    for head.now in range(0, 60, 5):
        assert not log.read(STATUS)
        assert head.told == ([] if head.now < 20 else ["its log cannot be read: no answer"])
    head.error, head.logs = None, "a"
    assert log.read(STATUS)
    assert head.written == "a"
    head.error = AwayError("no answer")
    log.read(STATUS)
    assert len(head.told) == 1
    log.read(STATUS, last=True)
    assert len(head.told) == 2


def test_a_head_that_does_not_know_the_job_is_no_empty_log(head, log):
    head.through = lambda *_: None
    assert not log.read(STATUS, last=True)
    assert head.told == ["its log cannot be read: c-head-svc:8265 knows no job first-x"]


def test_a_right_that_is_missing_is_reported_at_once_and_not_tried_again(head, log):
    head.error = UserError("not allowed: pods/portforward")
    assert [log.read(STATUS) for _ in range(3)] == [False] * 3
    assert head.told == ["its log cannot be read: not allowed: pods/portforward"]


def test_a_log_that_takes_long_is_read_less_often(head, log):
    reads = []

    def slow(_service, path, _token):
        reads.append(path)
        head.now += 1.5  # seconds for each of two requests
        return {"logs": "a"}

    head.through = slow
    for _ in range(26):
        log.poll(STATUS)
        head.now += 1
    assert len(reads) == 2
    assert log.read(STATUS, last=True)
