import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from data_pipeline.cli.command import UserError
from data_pipeline.storage import lake
from data_pipeline.storage.s3 import client
from mlops import inpaint
from mlops.evaluation.metrics import hole_psnr_db
from mlops.evaluation.truth import Truth
from mlops.fills.propagation import propagated
from mlops.media import video
from mlops.media.encoding import PictureWriter
from mlops.media.holes import Edge, Hole
from mlops.tracking import names, registry
from tests.faults.processes import ROOT
from tests.faults.s3 import s3_server
from tests.mlops import foreign
from tests.mlops.test_video import pts_of, sound_of, with_sound
from tests.tiny import write_video
from tests.training.small import GRIDS, SIDE, small_generator
from training.config.train_config import GeneratorConfig
from training.registration.model_folder import model_folder

BOX = "20,10,24,16"  # x, y, width, height


@pytest.fixture
def champion(store, tmp_path):
    """A model that fills black and works at another size than the videos."""
    version = foreign.register(store, tmp_path / "model", foreign.BLACK, size=(48, 32))
    registry.set_alias(store, version, names.CHAMPION)
    return store


def _run(uri, *argv):
    return inpaint.main([*map(str, argv), "--tracking-uri", uri])


def test_inpaint_fills_the_hole_and_keeps_frames_fps_and_known_pixels(champion, tmp_path, capsys):
    fps = Fraction(30000, 1001)
    source = write_video(tmp_path / "in.mp4", frames=90, width=96, height=64, fps=fps)
    out = tmp_path / "out.mp4"
    # Hardly compressed: what the codec does to a pixel differs from machine to machine.
    assert _run(champion, source, BOX, out, "--crf", 1, "--json") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert "hole: 6.2 % of the frame, in 90 of 90 frames" in lines
    said = json.loads(last)
    assert (said["frames"], said["fps"], said["model"]) == (90, "30000/1001", "models:/sttn/1")
    assert said["hole"] == {"share": 24 * 16 / (96 * 64), "frames": 90, "whole": 0}
    found = video.facts_of(out)
    assert (found.frames, found.fps, found.width, found.height) == (90, fps, 96, 64)
    before = np.stack(list(video.read(source))).astype(int)
    after = np.stack(list(video.read(out))).astype(int)
    error = np.abs(before - after).mean(axis=3)  # [T,H,W]
    assert after[:, 12:24, 22:42].max() < 16  # black, but for the codec
    error[:, 10:26, 20:44] = 0
    assert error.mean() < 2
    # Away from the rim nothing but the codec touches a pixel.
    assert error[:, 40:].max() < 8


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["{video}", "90,0,10,10", "{out}"], "box 90,0,10,10 does not lie in the 96x64 pixels"),
        (["{video}", "{long}", "{out}"], "has 7 frames, video"),
        (["{video}", "{wide}", "{out}"], "is 128x64, video"),
        (["{missing}", BOX, "{out}"], "missing.mp4 is not there"),
        (["{text}", BOX, "{out}"], "is not a video (Invalid data"),
        (["{video}", BOX, "{video}"], "OUT is the input"),
        (["{video}", BOX, "{nowhere}"], "its folder is not there"),
        (["{video}", BOX, "{out}", "--model", "models:/sttn@best"], "aliases: candidate = vers"),
        (["{video}", BOX, "{out}", "--crf", "60"], "--crf is 60: give 0 (best) to 51"),
        (["{video}", BOX, "{avi}"], "OUT ends in '.avi': give .mp4, .mov, .mkv, .webm, or a name"),
        (
            ["{video}", BOX, "{webm}"],
            ".webm does not take h264: give --codec vp9 or av1, or OUT",
        ),
        (
            ["{video}", BOX, "{webm}", "--lossless"],
            "--lossless does not fit .webm: give OUT as",
        ),
        (["{video}", BOX, "{out}", "--compare", "{avi}"], "--compare ends in '.avi'"),
        (["{video}", BOX, "{out}", "--dilate", "-1"], "--dilate is -1: give 0 to 1,000"),
        (["{video}", BOX + "@3-9", "{out}"], "frames 3 to 9 are not in"),
        (["{video}", BOX, "{folder}"], "is a folder that is there already"),
        (["{folder}", BOX, "{out}"], "has no pictures: give a folder of frames"),
        (["{video}", BOX, "{out}", "--truth", "{wide}"], "wide.mp4 is 128x64, video"),
        (["{video}", BOX, "{out}", "--truth", "{long}"], "long.mp4 has 7 frames, video"),
        (["{video}", BOX, "{out}", "--truth", "{missing}"], "missing.mp4 is not there"),
        (["{video}", BOX, "{out}", "--truth", "{text}"], "is not a video (Invalid"),
        (["{long}", BOX, "{video}", "--truth", "{video}"], "OUT is the input"),
    ],
)
def test_user_errors_are_one_line_and_write_nothing(champion, tmp_path, capsys, argv, said):
    files = {
        "video": write_video(tmp_path / "in.mp4", frames=5, width=96, height=64),
        "long": write_video(tmp_path / "long.mp4", frames=7, width=96, height=64),
        "wide": write_video(tmp_path / "wide.mp4", frames=5, width=128, height=64),
        "text": tmp_path / "notes.txt",
        "missing": tmp_path / "missing.mp4",
        "nowhere": tmp_path / "no" / "out.mp4",
        "out": tmp_path / "out.mp4",
        "avi": tmp_path / "out.avi",
        "webm": tmp_path / "out.webm",
        "folder": tmp_path / "folder",
    }
    files["folder"].mkdir()
    files["text"].write_text("no video")
    there = sorted(tmp_path.rglob("*"))
    content = files["video"].read_bytes()
    assert _run(champion, *(word.format(**files) for word in argv)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == there
    assert files["video"].read_bytes() == content


@pytest.mark.parametrize("body", [foreign.BROKEN, foreign.FLOATS])
def test_a_failing_model_leaves_no_output(store, tmp_path, capsys, body):
    foreign.register(store, tmp_path / "model", body)
    source = write_video(tmp_path / "in.mp4", frames=5, width=96, height=64)
    out = tmp_path / "out.mp4"
    out.write_bytes(b"the result of last time")
    assert _run(store, source, BOX, out, "--model", "models:/sttn@candidate") == 1
    assert out.read_bytes() == b"the result of last time"
    assert sorted(p.name for p in tmp_path.iterdir() if "part" in p.name) == []
    capsys.readouterr()


WHITE = "frames[holes] = 255"


@pytest.fixture
def white(store, tmp_path):
    """A model that fills white, at any size."""
    foreign.register(store, tmp_path / "model", WHITE)
    return store, "--model", "models:/sttn@candidate"


def test_audio_and_timestamps_of_a_video_are_kept(white, tmp_path, capsys):
    store, *model = white
    times = [40 * at + (15 if at % 3 else 0) for at in range(50)]
    source = with_sound(tmp_path / "in.mp4", times=times)
    out = tmp_path / "out.mp4"
    assert _run(store, source, BOX, out, *model) == 0
    assert "2 audio tracks kept" in capsys.readouterr().out
    assert sound_of(out) == sound_of(source)
    assert pts_of(out) == pytest.approx(pts_of(source), abs=1e-3)
    assert _run(store, source, BOX, out, *model, "--no-audio") == 0
    assert sound_of(out) == []
    assert _run(store, source, BOX, tmp_path / "out.webm", *model, "--codec", "vp9") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith("audio track 1 is aac, which .webm does not take: give OUT as .mkv, or "
                         "--no-audio")  # fmt: skip


def test_pixels_outside_hole_and_feathered_edge_are_unchanged(white, tmp_path):
    """Compared without lossy compression: as PNGs, and in a lossless file."""
    store, *model = white
    source = write_video(tmp_path / "in.mp4", frames=5, width=96, height=64)
    before = np.stack(list(video.read(source)))
    edge = ("--dilate", 3, "--blend-width", 4)
    assert _run(store, source, BOX, tmp_path / "png", *model, *edge) == 0
    after = np.stack(list(video.read(tmp_path / "png")))
    mask = np.zeros((64, 96), np.uint8)
    mask[10:26, 20:44] = 1
    hole = Edge(dilate=3, blend_width=4).hole(mask)
    assert np.array_equal(after[:, hole.mask == 0], before[:, hole.mask == 0])
    assert (after[:, mask != 0] == 255).all()
    mixed = hole.weight[..., None] * 255 + (1 - hole.weight[..., None]) * before
    soft = (hole.weight > 0) & (hole.weight < 1)
    assert np.abs(after[:, soft] - mixed[:, soft]).max() <= 0.51
    assert _run(store, source, BOX, tmp_path / "out.mkv", *model, *edge, "--lossless") == 0
    assert np.array_equal(np.stack(list(video.read(tmp_path / "out.mkv"))), after)


def test_inverted_masks_and_boxes_with_frame_ranges(white, tmp_path):
    store, *model = white
    source = write_video(tmp_path / "in.mp4", frames=4, width=96, height=64)
    assert _run(store, source, f"{BOX}@1-2", tmp_path / "some", *model) == 0
    filled = [(frame == 255).all(axis=2).sum() for frame in video.read(tmp_path / "some")]
    assert filled == [0, 24 * 16, 24 * 16, 0]
    assert _run(store, source, BOX, tmp_path / "inverse", *model, "--invert-mask") == 0
    (first, *_) = video.read(tmp_path / "inverse")
    assert (first == 255).all(axis=2).sum() == 96 * 64 - 24 * 16


def test_a_folder_of_frames_is_accepted_as_a_video(white, tmp_path):
    store, *model = white
    source = write_video(tmp_path / "in.mp4", frames=4, width=96, height=64)
    assert _run(store, source, "0,0,1,1", tmp_path / "png", *model) == 0
    out = tmp_path / "out.mp4"
    assert _run(store, tmp_path / "png", BOX, out, *model, "--fps", "12") == 0
    assert (video.facts_of(out).fps, video.facts_of(out).frames) == (12, 4)


def test_the_comparison_video_shows_hole_and_result(white, tmp_path, capsys):
    store, *model = white
    source = write_video(tmp_path / "in.mp4", frames=4, width=96, height=64)
    beside = tmp_path / "beside.mp4"
    flags = ("--compare", beside, "--json")
    assert _run(store, source, BOX, tmp_path / "out.mp4", *model, *flags) == 0
    (first, *_) = video.read(beside)
    assert first.shape == (64, 192, 3)
    assert first[18, 32, 0] > 2 * first[18, 32, 2]  # red
    assert first[18, 96 + 32].min() > 230  # white
    out = capsys.readouterr().out
    assert "decode 0." in out
    result = json.loads(out.splitlines()[-1])
    parts = ("model", "waiting for decode", "waiting for encode")
    assert sum(result["stages"][one] for one in parts) == pytest.approx(result["seconds"])


def _printed_result(capsys):
    *_, words, line = capsys.readouterr().out.splitlines()
    return words, json.loads(line)


def test_a_result_is_measured_against_the_ground_truth(white, tmp_path, capsys):
    """Before encoding, on frames with a hole, beside the fills of OpenCV and of propagation."""
    store, *model = white
    truth = write_video(tmp_path / "truth.mp4", frames=6, width=96, height=64)
    true = np.stack(list(video.read(truth)))
    spoilt = np.array(true)
    spoilt[2:5, 10:26, 20:44] = (0, 0, 255)
    with PictureWriter(tmp_path / "spoilt") as writer:
        for frame in spoilt:
            writer.write(video.Timed(frame, None))
    box, flags = f"{BOX}@2-4", ("--truth", truth, "--crf", 51, "--fps", 25, "--json")
    assert _run(store, tmp_path / "spoilt", box, tmp_path / "out.mp4", *model, *flags) == 0
    words, result = _printed_result(capsys)
    hole = np.zeros((64, 96), np.uint8)
    hole[10:26, 20:44] = 1
    holes = [hole if number in (2, 3, 4) else 0 * hole for number in range(6)]
    filled = [one.frame for one in propagated(zip(spoilt, holes, strict=True))]
    telea = [cv2.inpaint(frame, hole, 3, cv2.INPAINT_TELEA) for frame in spoilt[2:5]]
    expected = {
        "model": [np.full_like(frame, 255) for frame in true[2:5]],
        "telea": telea,
        "propagation": filled[2:5],
    }
    for name, frames in expected.items():
        each = [hole_psnr_db(*pair, hole) for pair in zip(true[2:5], frames, strict=True)]
        assert result["hole_psnr_db"][name] == pytest.approx(np.mean(each)), name
        assert f"{np.mean(each):.2f} dB" in words
    assert result["hole_frames"] == 3
    assert (
        result["hole_psnr_db"]["propagation"] > 30
    )  # the pattern moves, and is visible in other frames
    assert "not above what needs no model" in words
    assert video.count(tmp_path / "out.mp4") == 6
    parts = ("model", "compare", "waiting for decode", "waiting for encode")
    assert sum(result["stages"][one] for one in parts) == pytest.approx(result["seconds"])
    assert result["stages"]["compare"] > 0


def test_psnr_of_a_perfect_result_and_of_a_video_without_holes(store, tmp_path, capsys):
    foreign.register(store, tmp_path / "model", "pass")  # leaves everything as it is
    source = write_video(tmp_path / "in.mp4", frames=4, width=96, height=64)
    flags = ("--model", "models:/sttn@candidate", "--truth", source, "--blend-width", 3, "--json")
    assert _run(store, source, BOX, tmp_path / "out.mp4", *flags) == 0
    words, result = _printed_result(capsys)
    assert result["hole_psnr_db"]["model"] == 100
    assert "100.00 dB, above what needs no model" in words
    flags = (*flags[:-2], 0, "--json")
    everything = "0,0,96,64"
    assert _run(store, source, everything, tmp_path / "out.mp4", *flags) == 0
    _, result = _printed_result(capsys)
    assert result["hole_psnr_db"]["telea"] == result["hole_psnr_db"]["propagation"] < 30  # grey
    assert _run(store, source, everything, tmp_path / "out.mp4", *flags, "--invert-mask") == 0
    words, result = _printed_result(capsys)
    assert "no frame has a hole" in words
    assert result["hole_psnr_db"] == {"model": None, "propagation": None, "telea": None}


def test_feathered_edges_are_not_measured(white, tmp_path, capsys):
    store, *model = white
    source = write_video(tmp_path / "in.mp4", frames=2, width=96, height=64)
    levels = []
    for out, *flags in (("hard",), ("soft", "--blend-width", 5)):
        argv = (BOX, tmp_path / out, *model, "--truth", source, "--json", *flags)
        assert _run(store, source, *argv) == 0
        levels.append(_printed_result(capsys)[1]["hole_psnr_db"]["model"])
    assert levels[0] == levels[1]


@pytest.mark.parametrize("frames", [3, 60])
def test_truth_is_compared_frame_by_frame_in_bounded_memory(tmp_path, frames):
    source = write_video(tmp_path / "in.mp4", frames=frames, width=48, height=32)
    truth = Truth(source, video.facts_of(source))
    hole = np.zeros((32, 48), np.uint8)
    hole[8:16, 8:20] = 1
    read, most = 0, 0

    def results():
        nonlocal read
        for timed in video.read_timed(source):
            read += 1
            time.sleep(0.01)
            yield SimpleNamespace(source=timed, hole=Hole(hole, None), result=timed.frame)

    began = time.monotonic()
    for number, _ in enumerate(truth.compared(results())):
        most = max(most, read - number)
    # Waiting for results is no comparing.
    assert 0 < truth.busy_s <= time.monotonic() - began - 0.01 * frames
    assert (read, truth.frames) == (frames, frames)
    assert truth.means_db()["model"] == 100
    assert most <= 21  # as far as propagation looks ahead


@pytest.mark.parametrize(("frames", "how"), [(3, "fewer"), (5, "more")])
def test_a_ground_truth_with_another_number_of_frames_is_refused(tmp_path, frames, how):
    """A damaged file with the right number of packets."""
    source = write_video(tmp_path / "in.mp4", frames=4, width=48, height=32)
    truth = Truth(source, video.facts_of(source))
    results = [
        SimpleNamespace(source=timed, hole=Hole(np.zeros((32, 48), np.uint8), None), result=None)
        for timed in video.read_timed(source)
    ]
    other = write_video(tmp_path / "other.mp4", frames=frames, width=48, height=32)
    other.replace(source)
    with pytest.raises(UserError, match=f"decodes to {how} frames than the video"):
        list(truth.compared(iter(results)))


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("long") / "in.mp4", frames=3000, width=96, height=64)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_inpaint_leaves_no_partial_file(white, long_video, tmp_path, end):
    store, *model = white
    out = tmp_path / "out.mp4"
    out.write_bytes(b"the result of last time")
    command = [
        sys.executable, "mlops/inpaint.py", long_video, BOX, out, *model, "--tracking-uri", store,
        "--compare", tmp_path / "beside.mp4",
    ]  # fmt: skip
    with subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out.mp4.*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(end)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + end
    assert b"Traceback" not in err
    assert out.read_bytes() == b"the result of last time"
    assert not (tmp_path / "beside.mp4").exists()
    assert list(tmp_path.glob(".*part")) == []


def test_a_video_on_s3(white, tmp_path, monkeypatch, capsys):
    store, *model = white
    source = write_video(tmp_path / "in.mp4", frames=4, width=96, height=64)
    with s3_server() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        client().clear_instance_cache()
        client().mkdir("bucket")
        lake.upload(source, "s3://bucket/in.mp4")
        assert _run(store, "s3://bucket/in.mp4", BOX, tmp_path / "out.mp4", *model) == 0
        assert video.count(tmp_path / "out.mp4") == 4
        assert _run(store, "s3://bucket/no.mp4", BOX, tmp_path / "out.mp4", *model) == 2
        assert capsys.readouterr().err.endswith("error: s3://bucket/no.mp4 is not there\n")
    client().clear_instance_cache()


def test_large_frames_are_cropped_around_their_holes_or_scaled(store, tmp_path, capsys):
    """With a small real network, whose output depends on the input frame."""
    shape = GeneratorConfig(channels=8, blocks=1, grids=GRIDS)
    weights = small_generator(seed=1, blocks=1).state_dict()
    run_id = foreign.training_run(store)
    with model_folder(weights, shape, SIDE, SIDE, "MIT") as (folder, _):
        registered = registry.register(
            store, name=names.MODEL, run_id=run_id, clips=1, model_dir=folder, tags={}
        )
    source = write_video(tmp_path / "in.mp4", frames=4, width=96, height=64)
    to = ("--model", registered.uri)
    for out, *flags in (("scaled",), ("native", "--native")):
        assert _run(store, source, "40,30,8,6", tmp_path / out, *to, *flags) == 0
    scaled, native = (np.stack(list(video.read(tmp_path / one))) for one in ("scaled", "native"))
    before = np.stack(list(video.read(source)))
    mask = np.zeros((64, 96), bool)
    mask[30:36, 40:48] = True
    for found in (scaled, native):
        assert np.array_equal(found[:, ~mask], before[:, ~mask])
    assert not np.array_equal(scaled, native)
    foreign.register(store, tmp_path / "model", WHITE)
    assert _run(store, source, BOX, tmp_path / "no", "--native", "--model", "models:/sttn/2") == 2
    assert "cannot work on parts of frames: leave --native out" in capsys.readouterr().err
