"""Outputs of commands: never over an input, checked before the work, never partial."""

import os
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlops import burn_in, inpaint, report
from mlops.media import video
from mlops.tracking import names, registry
from tests.mlops import foreign
from tests.tiny import write_video

BOX = "20,10,24,16"
LONG = "n" * 246 + ".mkv"  # 250 bytes


@pytest.fixture
def files(tmp_path):
    """Inputs of each kind, and aliases of their paths."""
    mask = np.zeros((64, 96, 3), np.uint8)
    mask[10:26, 20:44] = 255
    (tmp_path / "frames").mkdir()
    for number in range(3):
        Image.fromarray(mask).save(tmp_path / "frames" / f"{number}.png")
    found = {
        "video": write_video(tmp_path / "in.mp4", frames=3, width=96, height=64),
        "truth": write_video(tmp_path / "truth.mp4", frames=3, width=96, height=64),
        "mask": write_video(tmp_path / "mask.mp4", frames=3, width=96, height=64, seed=1),
        "masks": tmp_path / "frames",
        "hard": tmp_path / "hard.mp4",
        "soft": tmp_path / "soft.mp4",
        "out": tmp_path / "out.mp4",
        "other": tmp_path / "folder" / ".." / "out.mp4",
        "folder": tmp_path / "folder",
        "pipe": tmp_path / "pipe.mp4",
        "long": tmp_path / LONG,
        "longer": tmp_path / ("n" * 260 + ".mp4"),
    }
    found["folder"].mkdir()
    os.mkfifo(found["pipe"])
    found["hard"].hardlink_to(found["mask"])
    found["soft"].symlink_to("mask.mp4")
    return found


@pytest.fixture
def store(tmp_path, new_store, monkeypatch):
    """A tracking store with a model that leaves every frame as it is."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    uri = new_store(tmp_path / "store")
    version = foreign.register(uri, tmp_path / "model", "pass")
    registry.set_alias(uri, version, names.CHAMPION)
    return uri


def _content(folder):
    """Every file below a folder, and its content."""
    files = (path for path in sorted(folder.rglob("*")) if "store" not in path.parts)
    return [(path, path.read_bytes() if path.is_file() else b"") for path in files]


def _refused(capsys, code, said):
    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["{video}", "{mask}", "{mask}"], "OUT is the input MASK"),
        (["{video}", "{mask}", "{hard}"], "OUT is the input MASK"),
        (["{video}", "{mask}", "{soft}"], "OUT is the input MASK"),
        (["{video}", "{soft}", "{mask}"], "OUT is the input MASK"),
        (["{video}", "{mask}", "{out}", "--compare", "{mask}"], "--compare is the input MASK"),
        (["{video}", BOX, "{out}", "--compare", "{video}"], "--compare is the input VIDEO"),
        (["{video}", BOX, "{out}", "--compare", "{out}"], "OUT and --compare are both"),
        (["{video}", BOX, "{out}", "--compare", "{other}"], "OUT and --compare are both"),
        (["{video}", BOX, "{out}", "--truth", "{truth}", "--compare", "{truth}"],
         "--compare is the input --truth"),
        (["{video}", "{masks}", "{masks}"], "OUT is the input MASK"),
        (["{video}", BOX, "-"], "OUT is '-', but no stream can be written"),
        (["{video}", BOX, "/dev/full"], "OUT /dev/full is a pipe or a device"),
        (["{video}", BOX, "{pipe}"], "is a pipe or a device"),
        (["{video}", BOX, "{longer}"], "cannot be written (File name too long)"),
        (["{video}", BOX, "/proc/out.mp4"], "/proc/out.mp4 cannot be written ("),
        (["{video}", BOX, "{out}", "--compare", "/proc/out.mp4"], "/proc/out.mp4 cannot be writ"),
        (["{video}", BOX, "s3://bucket/out.mp4"], "is in a store, and is written to disk"),
    ],
)  # fmt: skip
def test_inpaint_refuses_bad_outputs_before_loading_the_model(
    store, files, tmp_path, capsys, monkeypatch, argv, said
):
    monkeypatch.setattr("mlops.inpainting.inpaint.load", None)  # before the model is loaded
    before = _content(tmp_path)
    words = [word.format(**files) for word in argv]
    _refused(capsys, inpaint.main([*words, "--tracking-uri", store]), said)
    assert _content(tmp_path) == before


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["{video}", "{video}", "{out}"], "OUT is the input VIDEO"),
        (["{video}", "{out}", "{video}"], "MASKS is the input VIDEO"),
        (["{video}", "{out}", "{other}"], "OUT and MASKS are both"),
        (["{video}", "{hard}", "{soft}"], "OUT and MASKS are both"),
        (["{masks}", "{masks}", "{out}"], "OUT is the input VIDEO"),
        (["{video}", "-", "{out}"], "OUT is '-', but no stream can be written"),
        (["{video}", "{out}", "/proc/masks"], "/proc/masks cannot be written ("),
    ],
)
def test_burn_in_refuses_bad_outputs_before_the_work(files, tmp_path, capsys, argv, said):
    before = _content(tmp_path)
    _refused(capsys, burn_in.main([word.format(**files) for word in argv]), said)
    assert _content(tmp_path) == before


def test_output_names_that_differ_only_in_case_are_refused(files, tmp_path, capsys):
    code = burn_in.main([str(files["video"]), str(tmp_path / "A.mkv"), str(tmp_path / "a.mkv")])
    _refused(capsys, code, "OUT and MASKS are both")


def test_report_refuses_bad_outputs_before_the_work(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mlops.reporting.content.content_of", None)
    for out, said in (
        ("/proc/page.html", "/proc/page.html cannot be written ("),
        (str(tmp_path / "no" / "page.html"), "its folder is not there"),
        (str(tmp_path / ("n" * 260 + ".html")), "cannot be written (File name too long)"),
    ):
        _refused(capsys, report.main(["--out", out, "--tracking-uri", store]), said)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ("{pipe}", "is a pipe or a device: give a file, a folder, or boxes"),
        ("/dev/zero", "is a pipe or a device: give a file, a folder, or boxes"),
        (f"{BOX}@0-1;" * 20 + "1,2", "is not there: give a picture, a folder, a video, or boxes"),
    ],
)
def test_masks_that_are_not_files_are_refused(store, files, capsys, mask, said):
    argv = [str(files["video"]), mask.format(**files), str(files["out"]), "--tracking-uri", store]
    _refused(capsys, inpaint.main(argv), said)


def test_any_number_of_boxes_is_accepted(store, files):
    boxes = ";".join([f"{BOX}@0-1"] * 20)
    assert len(boxes) > 255
    assert (
        inpaint.main([str(files["video"]), boxes, str(files["out"]), "--tracking-uri", store]) == 0
    )


def test_awkward_output_names_are_written(store, files, tmp_path, capsys, monkeypatch):
    """Names that ffmpeg takes for a protocol or a pattern, and one of maximal length."""
    monkeypatch.chdir(tmp_path)
    for name in ("a:b.mp4", "http:b.mkv", "%03d.mp4", "-v.mp4", "ü [1].mp4", LONG, "n" * 250):
        argv = [str(files["video"]), BOX, "--tracking-uri", store, "--", name]
        if name.startswith("-"):
            argv[-1] = f"./{name}"
        argv.remove("--")
        assert inpaint.main(argv) == 0, capsys.readouterr().err
        assert video.count(Path(name)) == 3
    page = tmp_path / ("n" * 245 + ".html")
    assert report.main(["--out", str(page), "--tracking-uri", store]) == 0
    assert page.stat().st_size
    assert list(tmp_path.glob(".*")) == []


def test_a_symbolic_link_as_output_is_followed(files, tmp_path):
    (tmp_path / "link.mkv").symlink_to(Path("folder", "there.mkv"))
    argv = [str(files["video"]), str(tmp_path / "link.mkv"), str(tmp_path / "m.mkv")]
    assert burn_in.main(argv) == 0
    assert (tmp_path / "link.mkv").is_symlink()
    assert video.count(files["folder"] / "there.mkv") == 3


@contextmanager
def _no_file_beyond(size):
    """A disk that is full when a file reaches this size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 20_000])
@pytest.mark.parametrize("out", ["out.mkv", "out.mp4", "out"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, capsys, out, size):
    """At the first bytes, and later."""
    source = write_video(tmp_path / "in.mp4", frames=20, width=320, height=240)
    before = _content(tmp_path)
    with _no_file_beyond(size):
        code = burn_in.main([str(source), str(tmp_path / out), str(tmp_path / "masks.mkv")])
    progress, error = capsys.readouterr().err.splitlines()
    assert code == 1
    assert progress.startswith("burn into")
    assert f"{tmp_path / out}: the disk is full" in error
    assert _content(tmp_path) == before
