"""The command `training/run.py`, as far as it goes without starting workers."""

import dataclasses
import json
import re

import pytest

from data_pipeline.cli.command import UserError
from tests.tiny import write_video
from training.config.presets import PRESETS
from training.config.serialisation import config_digest, from_json
from training.driver import workers
from training.run import main

# A new flag is a decision: it is listed here, documented in the README if needed, and kept.
FLAGS = [
    "--activation-checkpointing", "--allow-new-data", "--batch-clips", "--checkpoint-every-clips",
    "--clip-frames", "--clip-reach", "--clip-references", "--clips", "--compile", "--data",
    "--device", "--discriminator.channels", "--discriminator.clips-apart", "--dry-run", "--flows",
    "--frame-height", "--frame-width", "--generator.blocks", "--generator.channels",
    "--generator.fill", "--generator.grids", "--generator.masked-attention",
    "--generator.patch-sizes", "--gpu-gib", "--gpus-per-node", "--init", "--json",
    "--keep-checkpoints", "--keep-every-clips", "--latency-us", "--link-gb-per-s",
    "--log-every-clips", "--loss.adversarial", "--loss.error", "--loss.hole",
    "--loss.normalisation", "--loss.valid", "--max-restarts", "--micro-batch-clips",
    "--min-workers", "--name",
    "--network-gb-per-s", "--nodes", "--optimiser.betas", "--optimiser.decay-every-clips",
    "--optimiser.decays", "--optimiser.discriminator-learning-rate",
    "--optimiser.ema-half-life-clips", "--optimiser.generator-learning-rate",
    "--optimiser.init-std", "--peak-teraflops", "--plan", "--precision", "--prefetch-clips",
    "--profile-iterations", "--register-every-clips", "--require-tracking", "--seed", "--sharding",
    "--storage", "--tracking-uri", "--utilisation", "--validate-every-clips", "--validation-clips",
    "--watchdog-timeout-s", "--window-shards", "--worker-threads", "--workers",
]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory: empty, and without environment variables for paths."""
    for name in ("STTN_DATA", "STTN_STORAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    empty = tmp_path / "cwd"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return empty


@pytest.fixture
def complaint(capsys, folder):
    """Run a wrong command line; returns its one line of error."""

    def run(*argv):
        assert main([str(word) for word in argv]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert list(folder.iterdir()) == []
        return said.err

    return run


@pytest.fixture
def dry_run(capsys, folder):
    def run(*argv):
        assert main([*map(str, argv), "--dry-run"]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert list(folder.iterdir()) == []
        return json.loads(said.out)

    return run


def config_of(document):
    return from_json(
        {key: value for key, value in document.items() if key not in ("preset", "config_digest")}
    )


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["dmeo"], "unknown preset 'dmeo' (did you mean 'demo'?)"),
        (["demo", "--clps", "800"], "unknown flag --clps (did you mean '--clips'?)"),
        (["--clps", "800"], "unknown flag --clps (did you mean '--clips'?)"),
        (["demo", "--loss.vlaid", "1"], "(did you mean '--loss.valid'?)"),
        (["demo", "--clips", "many"], "--clips"),
        (["demo", "--clips", "13", "--batch-clips", "4"], "use 16 or 12"),
        (["demo", "--clips", "0"], "--clips is 0: give 1 to"),
        (["demo", "--device", "tpu"], "cpu"),
        (["demo", "--generator.channels", "10"], "generator.channels is 10"),
        (["smoke", "--generator.fill", "telea"], "--generator.fill"),
        (["smoke", "--flows", "/flows"], "--flows is for propagation"),
        (["smoke", "--clip-references", "9"], "leaves no neighbours"),
        (["demo", "smoke"], "smoke"),
        (["demo", "--tracking-uri", "./mlruns"], "sqlite:///"),
        (["demo", "--data", "ftp://x/y"], "'ftp'"),
    ],
)
def test_a_wrong_command_line_is_one_line_with_the_cure(complaint, argv, words):
    assert words in complaint(*argv)


def test_missing_settings_are_all_named_with_a_preset_that_needs_none(complaint):
    said = complaint()
    for name in ("STTN_DATA", "STTN_STORAGE", "MLFLOW_TRACKING_URI", "training/run.py demo"):
        assert name in said
    assert "STTN_DATA" not in complaint("--data", "/lake/v1")


def test_a_dry_run_prints_the_resolved_config_and_writes_nothing(dry_run, folder):
    document = dry_run("demo", "--clips", 1600, "--optimiser.betas", 0.5, 0.9, "--seed", 3)
    wanted = dataclasses.replace(
        PRESETS["demo"],
        clips=1600,
        seed=3,
        optimiser=dataclasses.replace(PRESETS["demo"].optimiser, betas=(0.5, 0.9)),
        data=str(folder / "demo/lake/curated/demo/v1"),
        storage=str(folder / "demo/runs"),
        tracking_uri=f"sqlite:///{folder}/demo/mlflow.db",
    )
    assert config_of(document) == wanted
    assert document["preset"] == "demo"
    assert document["config_digest"] == config_digest(wanted)


def test_a_dry_run_takes_paths_from_the_environment(dry_run, monkeypatch):
    monkeypatch.setenv("STTN_DATA", "s3://lake/curated/youtube-vos/v1")
    monkeypatch.setenv("STTN_STORAGE", "s3://runs")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    document = dry_run("--storage", "/elsewhere")
    assert document["preset"] == "youtube-vos"
    assert config_of(document) == dataclasses.replace(
        PRESETS["youtube-vos"],
        data="s3://lake/curated/youtube-vos/v1",
        storage="/elsewhere",
        tracking_uri="http://mlflow:5000",
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_command(dry_run, preset):
    places = ["--data", "/d", "--storage", "/s", "--tracking-uri", "sqlite:////t.db"]
    assert config_of(dry_run(preset, *places)) == dataclasses.replace(
        PRESETS[preset], data="/d", storage="/s", tracking_uri="sqlite:////t.db"
    )


def test_help_lists_exactly_these_flags(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert not caught.value.code
    text = capsys.readouterr().out
    found = set(re.findall(r"--[a-z][a-z.-]*", re.sub(r"--no-[a-z-]+|--\w+\.no-[a-z-]+", "", text)))
    assert sorted(found - {"--help"}) == FLAGS
    assert "PRESET is one of davis, demo, smoke, starter, youtube-vos," in " ".join(text.split())
    assert "Clips of one iteration over all workers" in text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--recompute-blocks"], ["--activation-checkpointing"]),
        (["--worker-failures", "7"], ["--max-restarts", "7"]),
        (["--hang-after-s=60"], ["--watchdog-timeout-s", "60"]),
    ],
)
def test_an_old_flag_works_with_a_warning(capsys, old, new):
    documents = []
    for flags in (old, new):
        assert main(["demo", *flags, "--dry-run"]) == 0
        said = capsys.readouterr()
        documents.append(json.loads(said.out))
        assert (f"warning: {old[0].split('=')[0]} is now {new[0]}" in said.err) == (flags == old)
    assert documents[0] == documents[1]


PLACES = ["--storage", "runs", "--tracking-uri", "sqlite:///mlflow.db"]


def test_a_missing_data_set_is_refused(complaint, tmp_path):
    nowhere = tmp_path / "lake/v1"
    assert str(nowhere) in complaint("smoke", "--data", nowhere, *PLACES)


def test_a_folder_without_a_manifest_is_no_data_set(complaint, tmp_path):
    write_video(tmp_path / "videos" / "a.mp4", frames=2)
    said = complaint("smoke", "--data", tmp_path / "videos", *PLACES)
    assert str(tmp_path / "videos") in said
    assert "manifest.json" in said


def test_frames_that_the_grids_do_not_divide_are_refused_with_sizes_that_fit(complaint, data_sets):
    said = complaint("smoke", "--data", data_sets["100 wide"], *PLACES)
    for size in ("100x96", "96x96", "144x96"):
        assert size in said


def test_clips_longer_than_a_video_are_refused_before_anything_starts(
    complaint, data_sets, monkeypatch
):
    def never(_cpus):
        raise AssertionError("Ray was started")

    monkeypatch.setattr(workers, "ray_session", never)
    said = complaint("smoke", "--data", data_sets["fitting"], "--clip-frames", 10, *PLACES)
    assert "clips of 10 frames" in said
    assert "has 9" in said


def test_the_demo_without_its_data_names_the_build_command(complaint, folder):
    said = complaint("demo")
    assert f"{folder}/demo/lake/curated/demo/v1" in said
    assert "data_pipeline/run.py shard" in said


def test_user_error_is_a_value_error():
    assert issubclass(UserError, ValueError)
