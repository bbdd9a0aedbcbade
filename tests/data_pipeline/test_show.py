"""`show`: its figures match the data set, and the contact sheet shows frames and masks."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_pipeline import run
from data_pipeline.config import ShowConfig
from data_pipeline.format import manifest
from data_pipeline.inspection import contact_sheet
from data_pipeline.inspection.contact_sheet import Strip, draw_sheet, evenly_spaced
from data_pipeline.inspection.show import histogram, show, text
from data_pipeline.read.files import Files
from data_pipeline.read.reader import CorruptData, DataSet
from data_pipeline.storage import lake
from tests.data_pipeline import handmade


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set that no test changes."""
    uri = str(tmp_path_factory.mktemp("shown") / "tiny" / "v1")
    handmade.make(uri)
    return uri


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def open_in_place(uri):
    found = manifest.load(uri)
    return DataSet(found, Files(uri, found.payload, None))


def frame_sizes(uri):
    return np.concatenate([pq.read_table(p)["size"] for p in Path(uri).glob("index/*.parquet")])


def test_shown_figures_match_the_data_set(made, here):
    shown = show(ShowConfig(uri=made))
    found, sizes = manifest.load(made), frame_sizes(made)
    assert (shown.uri, shown.digest) == (made, found.digest)
    assert (shown.width, shown.height) == (64, 48)
    assert shown.files == 7
    assert shown.bytes == sum(file.size for file in found.payload.values())
    assert {name: (one.videos, one.frames) for name, one in shown.splits.items()} == {
        "test": (1, 6),
        "train": (3, 52),
    }
    assert shown.rejected == {"has no picture": 1}
    assert shown.sources == {"128x96": 4}
    assert shown.frame_bytes == sizes.sum()
    lengths = shown.lengths
    assert (lengths.smallest, lengths.median, lengths.largest) == (5, 6, 40)
    assert sum(lengths.counts) == 4
    assert shown.sizes.smallest == sizes.min()
    assert sum(shown.sizes.counts) == 58
    assert shown.sheet == str(here / "tiny-v1.png")


def test_hole_share_equals_that_of_the_masks(made):
    shown = show(ShowConfig(uri=made, sheet="none"))
    data = open_in_place(made)
    for variant, kind in enumerate(handmade.KINDS):
        shares = [
            data.read_masks(video, variant, evenly_spaced(video.frames, 8)).mean()
            for split in data.splits
            for video in data.videos(split)
        ]
        assert shown.masks[kind].variants == 4
        assert shown.masks[kind].hole_share == pytest.approx(np.mean(shares))
        assert 0 < np.mean(shares) < 0.5


def test_output_as_text_and_as_json(made, here, capsys):
    assert run.main(["show", made, "--json"]) == 0
    out = capsys.readouterr().out
    *_, last = out.splitlines()
    value = json.loads(last)
    assert value["splits"]["train"] == {"videos": 3, "frames": 52}
    assert value["masks"]["moving"]["variants"] == 4
    assert value["sheet"] == str(here / "tiny-v1.png")
    assert sum(value["lengths"]["counts"]) == 4
    for words in (
        f"digest {value['digest']}",
        "frames a video: 5 to 40, median 6",
        "left out, videos: 1",
        "128x96        4",
        f"contact sheet: {here / 'tiny-v1.png'}",
    ):
        assert words in out
    bars = [line for line in out.splitlines() if "█" in line]
    assert max(line.count("█") for line in bars) == 40


def test_no_contact_sheet_when_disabled(made, here, capsys):
    assert run.main(["show", made, "--sheet", "none"]) == 0
    assert "contact sheet" not in capsys.readouterr().out
    assert list(here.iterdir()) == []


def test_the_sheet_has_a_row_a_video_with_its_frames(made, here):
    show(ShowConfig(uri=made, sheet=str(here / "a" / "sheet.png")))
    with Image.open(here / "a" / "sheet.png") as image:
        sheet = np.asarray(image.convert("RGB")).astype(int)
    data = open_in_place(made)
    top = 20 + 3 * 24
    for row, video in enumerate([*data.videos("test"), *data.videos("train")]):
        frames = evenly_spaced(video.frames, 8)
        pictures = data.read_frames(video, frames)
        masks = [data.read_masks(video, variant, frames) for variant in range(2)]
        for at in range(len(frames)):
            left, above = 20 + at * 230, top + row * (168 + 24 + 12) + 24
            tile = sheet[above : above + 168, left : left + 224]
            plain = Image.fromarray(pictures[at]).resize((224, 168), Image.Resampling.LANCZOS)
            away = np.abs(tile - np.asarray(plain).astype(int)).max(axis=-1) > 40
            holes = [Image.fromarray(mask[at] * 255).resize((224, 168)) for mask in masks]
            hole = np.max([np.asarray(one) > 127 for one in holes], axis=0)
            away[:20, :40] = False  # the number of the frame
            assert away.any(), (video.id, at)
            assert not (away & ~hole).any(), (video.id, at)


def test_every_variant_has_a_colour_and_a_name():
    frame = np.zeros((1, 60, 80, 3), np.uint8)
    masks = np.zeros((3, 1, 60, 80), np.uint8)
    for at in range(3):
        masks[at, 0, 30:50, 5 + 25 * at : 20 + 25 * at] = 1
    names = ("moving 1", "object 1", "stationary 1")
    strip = Strip("v", (0,), frame, dict(zip(names, masks, strict=True)))
    with Image.open(io.BytesIO(draw_sheet("t", [strip]))) as image:
        pixels = np.asarray(image.convert("RGB"))
    for colour in contact_sheet._COLOURS[:3]:
        places = np.argwhere((pixels == colour).all(axis=-1))
        assert (places[:, 0] < 92).any(), "in the legend"
        assert (places[:, 0] > 92).any(), "around the hole"


@pytest.mark.parametrize(
    ("values", "edges", "counts"),
    [
        ([5], (5, 6), (1,)),
        ([0, 8], (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 0, 0, 0, 0, 0, 0, 0, 1)),
        ([3, 17, 18], (2, 4, 6, 8, 10, 12, 14, 16, 18, 20), (1, 0, 0, 0, 0, 0, 0, 1, 1)),
        ([100, 899], (100, 200, 300, 400, 500, 600, 700, 800, 900), (1, 0, 0, 0, 0, 0, 0, 1)),
    ],
)
def test_histogram_bins_have_round_edges_and_include_every_value(values, edges, counts):
    found = histogram(np.array(values))
    assert (found.edges, found.counts) == (edges, counts)


def test_spread_includes_first_and_last():
    assert evenly_spaced(3, 8) == (0, 1, 2)
    assert evenly_spaced(100, 4) == (0, 33, 66, 99)
    assert evenly_spaced(0, 4) == ()


def test_a_data_set_without_videos_is_shown_too(tmp_path):
    uri = str(tmp_path / "tiny" / "v0")
    handmade.make(uri, shards={})
    shown = show(ShowConfig(uri=uri))
    assert (shown.splits, shown.lengths, shown.sizes, shown.sheet) == ({}, None, None, "")
    assert "left out" in text(shown)


def test_show_reports_a_damaged_frame(tmp_path, flip_byte, here):
    uri = str(tmp_path / "tiny" / "v1")
    handmade.make(uri)
    (shard,) = Path(uri).glob("shards/test-*.tar")
    flip_byte(shard, 700)
    with pytest.raises(CorruptData, match="video a, frame 0"):
        show(ShowConfig(uri=uri))
    assert not (here / "tiny-v1.png").exists()


def test_an_unwritable_sheet_and_a_missing_data_set_are_refused(made, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert run.main(["show", made, "--sheet", str(tmp_path / "file" / "s.png")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert run.main(["show", str(tmp_path / "typo")]) == 2
    assert "no data set at" in capsys.readouterr().err


@pytest.mark.parametrize("sheet", ["{made}/catalogue.png", "{link}/x.png", "{film}"])
def test_a_sheet_never_overwrites_other_files(made, tmp_path, capsys, sheet):
    """Neither a file of the data set, under any path, nor a file that is no picture."""
    film, link = tmp_path / "film.mp4", tmp_path / "link"
    film.write_bytes(b"film")
    link.symlink_to(made)
    there = sorted(Path(made).rglob("*"))
    target = sheet.format(made=made, link=link, film=film)
    assert run.main(["show", made, "--sheet", target]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --sheet ")
    assert error.count("\n") == 1
    assert film.read_bytes() == b"film"
    assert sorted(Path(made).rglob("*")) == there


def test_on_s3(s3, here, monkeypatch):
    monkeypatch.setenv("STTN_CACHE", str(here / "cache"))
    uri = lake.join(s3, "shown", "tiny", "v1")
    handmade.make(uri)
    shown = show(ShowConfig(uri=uri, sheet=lake.join(s3, "shown", "sheet.png")))
    assert sum(one.frames for one in shown.splits.values()) == 58
    assert lake.read_bytes(shown.sheet)[:4] == b"\x89PNG"
    assert not (here / "cache").exists()
