"""`k8s/submit.py` against a real Ray head that wants a token."""

import json
import secrets
import signal
import subprocess
import sys

import pytest

from tests.faults.head import started
from tests.faults.processes import ROOT, finish
from tests.tiny import shard_tiny, write_video, write_videos

pytestmark = [pytest.mark.faults, pytest.mark.distributed, pytest.mark.timeout(1000)]

SECONDS = 400  # for a job; on a busy machine its processes start slowly


@pytest.fixture(scope="module")
def head():
    with started(ROOT) as head:
        yield head


@pytest.fixture
def submit(head):
    """Start the command; what is left at the end is killed."""
    begun = []

    def start(*words, **environment):
        process = subprocess.Popen(
            [sys.executable, "k8s/submit.py", *map(str, words)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **head.environment,
                "PYTHONSAFEPATH": "1",
                "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{head.port}",
                **environment,
            },
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.communicate()


def sharding(folder, *flags):
    """Words after `submit.py shard`: one data set of two videos."""
    return [
        "--", "--source", "videos", "--input", folder / "videos",
        "--output", folder / "lake/tiny/v1",
        "--held-out", "video-0", "--width", 96, "--height", 96, "--static", 1, "--moving", 1,
        "--workers", 1, *flags,
    ]  # fmt: skip


def test_a_job_is_followed_to_its_end_and_not_done_twice(tmp_path, submit):
    write_videos(tmp_path / "videos", [12, 12])
    code, out, err = finish(submit("shard", "--json", *sharding(tmp_path)), SECONDS)
    assert code == 0, out + err
    assert out.startswith("sttn-shard-tiny-v1: submitted: sttn-data shard --source videos")
    assert "v1: written, 2 videos, 24 frames" in out
    assert out.count("digest ") == 1
    assert json.loads(out.splitlines()[-2]) == {
        "name": "sttn-shard-tiny-v1", "status": "SUCCEEDED",
        "message": "sttn-shard-tiny-v1 is done",
    }  # fmt: skip
    code, out, err = finish(submit("shard", *sharding(tmp_path)), SECONDS)
    assert (code, err) == (0, "")
    assert "sttn-shard-tiny-v1: already done" in out
    # With other flags it is other work, and here finds that nothing is left to do.
    code, out, err = finish(submit("shard", *sharding(tmp_path, "--json")), SECONDS)
    assert code == 0, out + err
    assert "v1: already there" in out


def test_a_batch_of_videos_runs_again_and_finds_what_is_done(tmp_path, submit):
    write_videos(tmp_path / "films", [4, 4])
    batch = "inpaint", "--", tmp_path / "films", tmp_path / "lake/clean", "--masks", "8,8,30,20"
    code, out, err = finish(submit(*batch), SECONDS)
    assert code == 0, out + err
    assert ": submitted: sttn-inpaint-batch /" in out
    assert "2 videos: 2 written, by starter in" in out
    write_video(tmp_path / "films/new.mp4", frames=4)
    code, out, err = finish(submit(*batch), SECONDS)
    assert code == 0, out + err
    assert "3 videos: 1 written, 2 there already, by starter in" in out


def test_interrupted_it_leaves_the_job_and_says_how_to_come_back(tmp_path, submit):
    """It waits for 8 GPUs, which do not come."""
    place = [
        "--data", shard_tiny(tmp_path / "v1", write_videos(tmp_path / "videos", [12, 12])).uri,
        "--storage", tmp_path / "runs", "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db",
        "--device", "cuda", "--workers", "8",
    ]  # fmt: skip
    waiting = "the workers want 8 GPUs and the cluster has 0 now: waiting for more"
    first = submit("train", "--", "--name", "long", *place)
    read = iter(first.stdout.readline, "")
    assert any(waiting in line for line in read)
    first.send_signal(signal.SIGINT)
    code, _, err = finish(first)
    assert code == 130
    assert "sttn-train-long keeps running; to follow it again: " in err
    assert "python k8s/submit.py logs sttn-train-long" in err

    code, out, err = finish(submit("train", "--detach", "--", "--name", "long", *place))
    assert (code, err) == (0, "")
    assert "sttn-train-long: already running" in out
    other = submit("train", "--", "--name", "long", "--seed", "7", *place)
    code, out, err = finish(other)
    assert code == 1
    assert "runs already, as another job" in err
    assert "--seed 7" in err
    assert err.count("\n") == 1

    again = submit("logs", "sttn-train-long")
    assert any(waiting in line for line in iter(again.stdout.readline, ""))
    code, out, _ = finish(submit("train", "--cancel", "--", "--name", "long"))
    assert (code, out) == (0, "sttn-train-long was stopped\n")
    code, out, err = finish(again)
    assert code == 1
    assert err == "failed: sttn-train-long was stopped before it was done\n"
    code, out, _ = finish(submit("train", "--cancel", "--", "--name", "long"))
    assert (code, out) == (0, "sttn-train-long had ended already\n")


AT_ONCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from k8s.job_request import JobRequest
from k8s.jobs_api import JobsApi

def submit(number):
    return JobsApi(sys.argv[1]).submit(JobRequest("race", "test", "", "sleep 3"), once=False)

for state in sorted(ThreadPoolExecutor(8).map(submit, range(8))):
    print(state)
end = JobsApi(sys.argv[1]).follow("race", lambda text: None)
print(end.status)
"""


def test_of_many_who_submit_at_once_one_does(head):
    """Also when the job has run before, and all make room for the next."""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", AT_ONCE, f"http://127.0.0.1:{head.port}"],
            cwd=ROOT,
            env={**head.environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split("\n") == ["already running"] * 7 + ["submitted", "SUCCEEDED", ""]


def test_the_exit_code_is_the_jobs(tmp_path, submit):
    nothing = ["--data", tmp_path / "nothing", "--storage", tmp_path, "--tracking-uri"]
    run = ["--", "--name", "wrong", *nothing, f"sqlite:///{tmp_path}/mlflow.db"]
    code, out, err = finish(submit("train", "smoke", *run), SECONDS)
    assert code == 2
    assert "error: " in out
    assert err == "failed: sttn-train-wrong ended with exit code 2; its log says why\n"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"RAY_AUTH_TOKEN": secrets.token_hex(16)}, "wants a token"),
        ({"RAY_AUTH_MODE": "disabled"}, "wants a token"),
        ({"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9"}, "no Ray cluster answers at"),
    ],
)
def test_who_cannot_come_in_is_told_in_one_line(submit, environment, words):
    code, _, err = finish(submit("logs", "any", **environment))
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


def test_a_job_that_is_not_there_is_named_with_those_that_are(submit):
    finish(submit("train", "smoke", "--detach", "--", "--name", "there"))
    code, _, err = finish(submit("logs", "sttn-train-threre"))
    assert code == 2
    assert "there is no job 'sttn-train-threre'" in err
    assert "sttn-train-there" in err
