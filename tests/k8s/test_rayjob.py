"""What is made of the chart's templates, and what is said of how RayJobs end."""

import pytest

from k8s.job_request import job_request
from k8s.rayjob import DIGEST, KEEP_LOG, difference, end_of, ended, fill_template
from tests.charts.rendering import objects, of_kind
from tests.faults.processes import finish, start_command


def template(kind):
    (found,) = (
        one
        for one in of_kind(objects({}), "RayJob")
        if one["metadata"]["labels"]["sttn/kind"] == kind
    )
    return found


def test_a_template_is_filled_in_with_name_and_arguments_and_nothing_else():
    job = job_request("train", "smoke", ["--name", "first", "--clips", "80"])
    before = template("train")
    made = fill_template(before, job)
    assert made["metadata"]["name"] == "sttn-train-first"
    assert made["spec"]["entrypoint"] == "sttn-train smoke --name first --clips 80"
    assert len(made["metadata"]["annotations"].pop(DIGEST)) == 16
    assert made["metadata"]["annotations"] == {}
    del made["metadata"]["annotations"]
    made["metadata"]["name"], made["spec"]["entrypoint"] = "", before["spec"]["entrypoint"]
    assert made == before == template("train")


@pytest.mark.parametrize(
    ("kind", "flags", "entrypoint"),
    [
        (
            "evaluate", ["--model", "models:/sttn/3"],
            "sttn-evaluate --promote --exit-zero-on-reject --model models:/sttn/3",
        ),
        (
            "shard", ["--source", "videos", "--input", "s3://a/b", "--output", "s3://a/c/v1"],
            "sttn-data shard --source videos --input s3://a/b --output s3://a/c/v1",
        ),
        ("inpaint", ["/raw", "/clean", "--crf", "4"], "sttn-inpaint-batch /raw /clean --crf 4"),
    ],
)  # fmt: skip
def test_each_kind_runs_its_command(kind, flags, entrypoint):
    assert (
        fill_template(template(kind), job_request(kind, "", flags))["spec"]["entrypoint"]
        == entrypoint
    )


def test_the_same_is_asked_for_when_command_and_chart_are_the_same():
    def noted(*flags, **options):
        made = fill_template(template("train"), job_request("train", "smoke", flags), **options)
        return made["metadata"]["annotations"][DIGEST]

    assert noted("--name", "a") == noted("--name", "a") == noted("--name", "a", suspended=True)
    assert noted("--name", "a") != noted("--name", "a", "--clips", "80")


def test_suspended_it_waits_for_somebody_else():
    job = job_request("train", "smoke", ["--name", "a"])
    assert fill_template(template("train"), job, suspended=True)["spec"]["suspend"] is True
    assert "suspend" not in fill_template(template("train"), job)["spec"]


EXIT_3 = "Job entrypoint command failed with exit code 3, last available logs: ..."


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (("Complete", "SUCCEEDED", ""), "j is done", 0),
        (("Complete", "STOPPED", ""), "j was stopped before it was done", 1),
        (("Failed", "STOPPED", ""), "j was stopped before it was done", 1),
        (("ValidationFailed", "", "no such field"), "j was refused by KubeRay: no such field", 2),
        (("Failed", "FAILED", EXIT_3, "AppFailed"), "exit code 3: its log says why", 3),
        (("Failed", "FAILED", "killed", "AppFailed"), "that could not be read: killed", 1),
        (("Failed", "RUNNING", "", "DeadlineExceeded"), "did not end within its deadline", 1),
        (("Failed", "", "", "PreRunningDeadlineExceeded"), "was not ready in time", 1),
        (("Failed", "", "", "SubmissionFailed"), "Ray did not accept it", 1),
        (("Failed", "", "", "JobStatusCheckTimeoutExceeded"), "stopped answering", 1),
        (
            ("Failed", "RUNNING", "", "JobDeploymentStatusTransitionGracePeriodExceeded"),
            "its submitter was lost",
            1,
        ),
    ],
)
def test_each_end_has_words_and_a_code_of_its_own(status, words, code):
    names = ("jobDeploymentStatus", "jobStatus", "message", "reason")
    job = {"status": dict(zip(names, status, strict=False))}
    assert ended(job)
    end = end_of("j", job)
    assert words in end.message
    assert end.code == code


@pytest.mark.parametrize("state", ["", "Initializing", "Running", "Retrying", "Suspended"])
def test_what_goes_on_has_not_ended(state):
    assert not ended({"status": {"jobDeploymentStatus": state}})


def test_an_exit_code_that_ray_told_counts_before_the_words():
    job = {"status": {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "failed": 3}}
    end = end_of("j", job, 7)
    assert end.message == "j failed 3 times, the last time with exit code 7: its log says why"
    assert end.code == 7


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["k8s/submit.py", "--list"], "no Kubernetes cluster is configured here"),
        (["k8s/cluster.py", "status"], "no Kubernetes cluster is configured here"),
        (["k8s/submit.py", "trian"], "unknown job 'trian' (did you mean 'train'?)"),
        (["k8s/submit.py", "train", "--working-dir", "."], "--working-dir goes with --address"),
        (["k8s/submit.py", "train", "--list"], "--list lists all jobs: leave 'train' out"),
        (["k8s/controller.py"], "--tracking-uri is missing"),
    ],
)
def test_a_mistake_is_one_line(words, line, tmp_path):
    code, out, err = finish(
        start_command(*words, KUBECONFIG=tmp_path / "none", MLFLOW_TRACKING_URI="")
    )
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert line in err


def test_a_difference_is_shown_as_the_user_typed_it():
    one, other = (
        {"spec": {"entrypoint": f"{KEEP_LOG} sttn-train smoke {flags}"}}
        for flags in ("--clips 4", "--clips 8")
    )
    assert difference(one, other) == (
        "'sttn-train smoke --clips 4', and this is 'sttn-train smoke --clips 8'"
    )
    assert difference(one, one) == "the same command with other values of the chart"
