"""Flags of the commands: old names, and what is refused before anything heavy is loaded."""

import subprocess
import sys

import pytest

from data_pipeline.cli.command import parse
from mlops.config import RENAMED, EvaluateConfig, InpaintConfig
from tests.faults.processes import ROOT

STORE = ("--tracking-uri", "sqlite:////nowhere/mlflow.db")


@pytest.mark.parametrize(
    ("kind", "argv", "value"),
    [
        (InpaintConfig, ("a.mp4", "b.png", "c.mp4", "--feather", "3"), ("filling.blend_width", 3)),
        (EvaluateConfig, ("--promote", "--refused-is-done"), ("exit_zero_on_reject", True)),
        (EvaluateConfig, ("--least-videos", "3"), ("rule.min_videos", 3)),
        (EvaluateConfig, ("--most-megabytes=5",), ("rule.max_megabytes", 5.0)),
        (EvaluateConfig, ("--most-seconds-per-frame", "2"), ("rule.max_seconds_per_frame", 2.0)),
    ],
)
def test_old_flags_work_with_a_warning(capsys, monkeypatch, kind, argv, value):
    monkeypatch.setenv("STTN_DATA", "/data")
    found = parse(kind, [*argv, *STORE], prog="command", description="", renamed=RENAMED)
    field, wanted = value
    for name in field.split("."):
        found = getattr(found, name)
    assert found == wanted
    new = "--" + field.split(".")[-1].replace("_", "-")
    assert f"is now {new}; the old name goes with the next release" in capsys.readouterr().err


REFUSED = {
    "promote": ["--tracking-uri", "nowhere"],
    "evaluate": [*STORE, "--data", "d", "--protocol", "published", "--clips-per-video", "2"],
    "inpaint": ["a.mp4", "b.png", "c.mp4", *STORE, "--model", "sttn"],
    "inpaint_batch": ["videos", "out", *STORE, "--model", "sttn"],
    "lineage": ["models:/sttn", *STORE],
    "prune": [*STORE, "--keep", "0"],
    "report": [*STORE, "--out", "page.pdf"],
    "burn_in": ["a.mp4", "b.mp4", "b.mp4"],
}


@pytest.mark.parametrize("command", REFUSED)
def test_a_wrong_value_is_refused_before_anything_heavy_is_loaded(command):
    code = (
        f"import sys; from mlops.{command} import main; code = main(sys.argv[1:])\n"
        "print(code, *{'mlflow', 'torch', 'ray', 'av', 'cv2', 'skimage'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *REFUSED[command]],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["2"], done.stderr
    assert done.stderr.count("\n") == 1
