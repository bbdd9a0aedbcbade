"""Masks of a whole video from marks on some frames, and of overlays that stand still."""

import json
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from data_pipeline.cli.command import UserError
from mlops import inpaint, masks
from mlops.masking.evidence import overlap
from mlops.masking.scene import Scene
from mlops.masking.selecting import from_box, from_points
from mlops.masking.still import find_still, still_masks
from mlops.masking.tracking import track
from mlops.media import overlays, video
from mlops.media.encoders import Encoding
from mlops.media.encoding import VideoWriter
from mlops.media.mask_reading import masks_for
from mlops.media.video import Timed
from tests.mlops import foreign
from tests.tiny import write_video

HEIGHT, WIDTH, FRAMES = 120, 160, 24
RADIUS = 16
TELEA = """import cv2
        for frame, hole in zip(frames, holes):
            frame[:] = cv2.inpaint(frame, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)"""


def _texture(seed, height, width, colour):
    noise = np.random.default_rng(seed).normal(0, 1, (height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip(colour + 30 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def _scene(frames=FRAMES, way=4, first=28, hidden=(), colour=(170, 110, 90)):
    """A disc that moves right over a background that a camera pans to the left.

    Returns:
        frames uint8 [H,W,3], and its masks.
    """
    far = _texture(1, HEIGHT, WIDTH + 4 * frames, (90, 110, 120))
    near = _texture(2, 2 * RADIUS + 1, 2 * RADIUS + 1, colour)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    shown, truth = [], []
    for number in range(frames):
        frame = far[:, 2 * number : 2 * number + WIDTH].copy()
        left = first + way * number - RADIUS
        mask = np.hypot(y - 60, x - left - RADIUS) <= RADIUS
        mask &= np.full_like(mask, number not in hidden)
        rows, columns = np.nonzero(mask)
        frame[rows, columns] = near[rows - 60 + RADIUS, columns - left]
        shown.append(frame)
        truth.append(mask)
    return shown, truth


def _scores(found, truth):
    return [overlap(one, other) for one, other in zip(found, truth, strict=True)]


@pytest.mark.parametrize("anchor", [0, 11, FRAMES - 1])
def test_an_object_is_tracked_both_ways_from_the_frame_whose_mask_is_known(anchor):
    frames, truth = _scene()
    scores = _scores(track(frames, {anchor: truth[anchor]}), truth)
    assert np.mean(scores) >= 0.9
    assert min(scores) >= 0.8
    assert scores[anchor] == 1


def test_an_object_that_rests_in_the_scene_is_carried_along_the_flow():
    frames, truth = _scene(way=-2, first=120)
    assert np.mean(_scores(track(frames, {0: truth[0]}), truth)) >= 0.9


def test_an_object_is_found_again_behind_something():
    frames, truth = _scene(hidden=range(8, 12))
    scores = _scores(track(frames, {0: truth[0]}), truth)
    assert min(scores[14:]) >= 0.8


def test_the_mask_ends_where_the_object_leaves_the_frame():
    frames, truth = _scene(frames=32, way=6)
    found = list(track(frames, {0: truth[0]}))
    assert truth[24].any()
    assert not truth[26].any()
    assert overlap(found[20], truth[20]) > 0.8
    assert not any(mask.any() for mask in found[28:])


def test_a_correction_is_kept_exactly_and_betters_both_sides():
    frames, truth = _scene()
    wrong = np.roll(truth[0], (9, 9), axis=(0, 1))
    alone = _scores(track(frames, {0: wrong}), truth)
    corrected = list(track(frames, {0: wrong, 12: truth[12]}))
    scores = _scores(corrected, truth)
    assert np.array_equal(corrected[12], truth[12])
    assert np.array_equal(corrected[0], wrong)
    assert np.mean(scores[7:12]) > np.mean(alone[7:12])
    assert np.mean(scores[13:]) > np.mean(alone[13:])


def test_an_object_is_followed_up_to_a_frame_where_it_is_gone_and_not_beyond():
    frames, truth = _scene()
    nothing = np.zeros_like(truth[0])
    found = list(track(frames, {0: truth[0], 10: nothing, 14: nothing}))
    assert overlap(found[9], truth[9]) > 0.8
    assert not any(mask.any() for mask in found[10:])
    found = list(track(frames, {3: nothing, 20: truth[20]}))
    assert overlap(found[5], truth[5]) > 0.8
    assert not any(mask.any() for mask in found[:4])


def test_between_two_marks_the_outline_goes_over_from_one_to_the_other():
    frames = [np.full((HEIGHT, WIDTH, 3), 128, np.uint8)] * 11
    small, large = np.zeros((2, HEIGHT, WIDTH), np.bool_)
    small[50:60, 70:80] = large[40:80, 50:100] = True
    areas = [np.count_nonzero(mask) for mask in track(frames, {0: small, 10: large})]
    assert areas == sorted(areas)
    assert areas[1] < 0.3 * areas[10]
    assert areas[9] > 0.7 * areas[10]


@pytest.mark.parametrize("count", [1, 20])
def test_a_mask_of_the_whole_frame_stays_one(count):
    frames, _ = _scene(frames=count)
    whole = np.ones((HEIGHT, WIDTH), np.bool_)
    assert np.mean(list(track(frames, {0: whole}))) > 0.9


def test_anchors_are_kept_whatever_a_tracker_says():
    frames, truth = _scene(frames=4)

    def nothing(frames, _anchors):
        return (np.zeros((HEIGHT, WIDTH), np.bool_) for _ in frames)

    found = list(track(frames, {2: truth[2]}, nothing))
    assert [mask.any() for mask in found] == [False, False, True, False]
    assert np.array_equal(found[2], truth[2])


def test_large_frames_are_tracked_small_and_their_masks_enlarged():
    frames, truth = _scene(frames=6)
    size = 6 * WIDTH, 6 * HEIGHT
    large = [cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in frames]
    masks_ = [cv2.resize(mask.astype(np.uint8), size) != 0 for mask in truth]
    found = list(track(large, {0: masks_[0]}))
    assert found[3].shape == (6 * HEIGHT, 6 * WIDTH)
    assert np.mean(_scores(found, masks_)) > 0.85


@pytest.mark.parametrize("number", [0, 12])
def test_a_box_and_a_click_take_what_moves(number):
    frames, truth = _scene(colour=(90, 110, 120))  # that of the background
    moved = Scene(frames).moved(number)
    y, x = np.nonzero(truth[number])
    box = x.min() - 1, y.min() - 1, x.max() + 2, y.max() + 2
    assert overlap(from_box(frames[number], box, moved), truth[number]) > 0.8
    point = int(x.mean()), int(y.mean()), True
    assert overlap(from_points(frames[number], [point], moved), truth[number]) > 0.8


def test_a_box_and_clicks_in_one_frame_part_by_colour():
    (frame, *_), (mask, *_) = _scene(frames=1)
    y, x = np.nonzero(mask)
    assert overlap(from_box(frame, (x.min(), y.min(), x.max() + 1, y.max() + 1)), mask) > 0.7
    clicks = [(28, 60, True), (60, 60, False), (28, 100, False), (28, 20, False)]
    found = from_points(frame, clicks)
    assert found[60, 28]
    assert not found[60, 60]
    assert overlap(found, mask) > 0.5


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, WIDTH + 1, 5), (5, 5, 5, 9)])
def test_a_box_outside_of_the_frame_is_refused(box):
    with pytest.raises(UserError, match="does not lie in the frame of 160x120 pixels"):
        from_box(np.zeros((HEIGHT, WIDTH, 3), np.uint8), box)


def test_points_outside_of_the_frame_or_none_on_the_object_are_refused():
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(UserError, match="point 160,5 is outside"):
        from_points(frame, [(WIDTH, 5, True)])
    with pytest.raises(UserError, match="no point is on the object"):
        from_points(frame, [(5, 5, False)])


@pytest.mark.parametrize(
    ("anchors", "said"),
    [
        ({}, "nothing to track"),
        ({3: np.ones((HEIGHT, WIDTH), np.bool_)}, "frame 3 is not in the video: give one of its"),
        ({0: np.ones((4, 5), np.bool_)}, "the mask of frame 0 is 5x4, the video is 160x120"),
        ({0: np.zeros((HEIGHT, WIDTH), np.bool_)}, "the mask is empty"),
    ],
)
def test_wrong_anchors_are_refused_at_once(anchors, said):
    with pytest.raises(UserError, match=said):
        track([np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 3, anchors)


# ------------------------------------------------------------------ SAM 2


class Predictor:
    """The calls of SAM 2's video predictor: its object stays where the last mask before it was."""

    def init_state(self, video_path, offload_video_to_cpu=False):
        names = sorted(Path(video_path).iterdir(), key=lambda file: int(file.stem))
        assert offload_video_to_cpu
        assert {file.suffix for file in names} == {".jpg"}
        return {"frames": len(names), "masks": {}}

    def add_new_mask(self, inference_state, frame_idx, obj_id, mask):
        assert obj_id == 1
        inference_state["masks"][frame_idx] = torch.tensor(mask, dtype=torch.bool)

    def propagate_in_video(self, inference_state, start_frame_idx=None, reverse=False):
        given, count = inference_state["masks"], inference_state["frames"]
        order = range(start_frame_idx, -1, -1) if reverse else range(start_frame_idx, count)
        for number in () if reverse and not start_frame_idx else order:
            nearest = min(given, key=lambda at: (abs(at - number), at))
            yield number, [1], torch.where(given[nearest], 5.0, -5.0)[None, None]


@pytest.fixture
def package(monkeypatch):
    """A package `sam2` that has no more than what is asked of it."""
    asked = []

    def build(config, weights, device):
        asked.append((config, weights, device))
        if config == "other.yaml":
            raise RuntimeError("Missing key(s)\nin state_dict")
        return Predictor()

    module = types.ModuleType("sam2.build_sam")
    module.build_sam2_video_predictor = build
    monkeypatch.setitem(sys.modules, "sam2", types.ModuleType("sam2"))
    monkeypatch.setitem(sys.modules, "sam2.build_sam", module)
    return asked


def test_sam2_is_given_the_frames_and_the_masks(package, tmp_path, capsys):
    source = _written(tmp_path / "in.mkv", _scene(frames=6)[0])
    weights = tmp_path / "weights.pt"
    weights.touch()
    picture = tmp_path / "mask.png"
    Image.fromarray(np.eye(HEIGHT, WIDTH, dtype=np.uint8) * 255).save(picture)
    argv = ("--mask", f"{picture}@2", "--sam2-weights", weights, "--sam2-config", "a.yaml")
    assert _run(source, tmp_path / "out", *argv) == 0
    assert [(config, path) for config, path, _ in package] == [("a.yaml", str(weights))]
    found = _masks(source, tmp_path / "out")
    assert np.array_equal(found, [np.eye(HEIGHT, WIDTH)] * 6)
    assert _run(source, tmp_path / "no", *argv[:-1], "other.yaml") == 2
    assert "as other.yaml (RuntimeError: Missing key(s) in state_dict)" in capsys.readouterr().err


def test_sam2_without_its_package_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sam2", None)
    source = _written(tmp_path / "in.mkv", _scene(frames=2)[0])
    argv = ("--box", "10,40,40,40", "--sam2-weights", tmp_path / "weights.pt")
    assert _run(source, tmp_path / "out.mkv", *argv) == 2
    assert "--sam2-weights needs the package sam2" in capsys.readouterr().err


# ------------------------------------------------------------------ overlays


def _panned(frames, step=4):
    far = _texture(3, HEIGHT, WIDTH + step * frames, (120, 120, 120))
    return [far[:, step * at : step * at + WIDTH].copy() for at in range(frames)]


def test_a_logo_and_subtitles_are_found_in_the_frames_that_have_them():
    frames = _panned(70)
    logo = overlays.logo(0, 25, WIDTH, HEIGHT, 0.8)
    text = overlays.subtitle("Where were you?", WIDTH, HEIGHT, overlays.ImageFont.load_default)
    changed, near = [], []
    for number, frame in enumerate(frames):
        before, mask = frame.astype(int), np.zeros((HEIGHT, WIDTH), np.uint8)
        logo.lay(frame, mask)
        if 20 <= number < 50:
            text.lay(frame, mask)
        changed.append(np.abs(frame - before).max(axis=2) > 8)
        near.append(mask != 0)
    things = find_still(frames)
    found = list(still_masks(frames, things))
    assert np.mean(np.stack(found)[np.stack(changed)]) > 0.97  # recall
    assert np.mean(np.stack(near)[np.stack(found)]) > 0.9  # precision
    low = [bool(mask[HEIGHT // 2 :].any()) for mask in found]
    assert low == [20 <= number < 50 for number in range(70)]
    assert any(thing.frames == list(range(70)) for thing in things)


def test_nothing_is_found_where_nothing_stands_still():
    assert find_still(_panned(30)) == []


@pytest.mark.parametrize(
    ("frames", "said"),
    [(_panned(20, step=0), "the camera stands still"), (_panned(9), "the video has 9 frames")],
)
def test_overlays_that_cannot_be_told_apart_are_refused(frames, said):
    with pytest.raises(UserError, match=said):
        find_still(frames)


# ------------------------------------------------------------------ the command


def _run(*argv):
    return masks.main([*map(str, argv)])


def _written(path, frames):
    """A lossless video of frames."""
    like = video.facts_of(
        write_video(path.with_name("like.mp4"), frames=2, height=HEIGHT, width=WIDTH)
    )
    with VideoWriter(path, like, Encoding(lossless=True), alone=True) as writer:
        for frame in frames:
            writer.write(Timed(frame, None))
    return path


def _masks(source, path):
    """As `inpaint` reads them."""
    return np.stack(list(masks_for(str(path), video.facts_of(source)).each))


@pytest.mark.parametrize("out", ["out.mkv", "out.mp4", "out"])
def test_the_command_writes_masks_that_inpaint_reads(tmp_path, capsys, out):
    frames, truth = _scene()
    source = _written(tmp_path / "in.mkv", frames)
    assert _run(source, tmp_path / out, "--box", "11,43,35,35", "--json",
                "--preview", tmp_path / "seen.mp4") == 0  # fmt: skip
    found = _masks(source, tmp_path / out) != 0
    assert np.mean(_scores(found, truth)) > 0.8
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed == {
        "out": str(tmp_path / out),
        "frames": FRAMES,
        "masked_frames": FRAMES,
        "hole_share": pytest.approx(found.mean()),
        "still": [],
    }
    red = video.read(tmp_path / "seen.mp4")
    seen = next(red).astype(int)[found[0]].mean(axis=0)
    assert seen[0] > seen[1] + 60


def test_marks_on_later_frames_correct_and_end_the_mask(tmp_path, capsys):
    frames, truth = _scene()
    source = _written(tmp_path / "in.mkv", frames)
    Image.fromarray(truth[8].astype(np.uint8) * 255).save(tmp_path / "8.png")
    assert _run(source, tmp_path / "out.mkv", "--point", "28,60", "--point-off", "28,100",
                "--mask", f"{tmp_path}/8.png@8", "--gone", 20) == 0  # fmt: skip
    found = _masks(source, tmp_path / "out.mkv") != 0
    assert np.array_equal(found[8], truth[8])
    assert overlap(found[2], truth[2]) > 0.7
    assert not found[20:].any()
    assert "nothing is masked from frame 20 on" in capsys.readouterr().out


def test_overlays_are_found_by_the_command(tmp_path, capsys):
    frames = _panned(30)
    for frame in frames:
        overlays.logo(0, 25, WIDTH, HEIGHT, 1.0).lay(frame, np.zeros((HEIGHT, WIDTH), np.uint8))
    source = _written(tmp_path / "in.mkv", frames)
    assert _run(source, tmp_path / "out.mkv", "--overlays") == 0
    assert "in 30 frames 0-29" in capsys.readouterr().out
    assert _masks(source, tmp_path / "out.mkv")[:, :40].any(axis=(1, 2)).all()


def test_inpaint_fills_what_was_marked(store, tmp_path):
    foreign.register(store, tmp_path / "model", TELEA)
    frames, truth = _scene()
    source = _written(tmp_path / "in.mkv", frames)
    assert _run(source, tmp_path / "masks.mkv", "--box", "11,43,35,35") == 0
    model = ("--model", "models:/sttn@candidate", "--tracking-uri", store)
    argv = (source, tmp_path / "masks.mkv", tmp_path / "filled.mkv", "--lossless", *model)
    assert inpaint.main([*map(str, argv)]) == 0
    filled = list(video.read(tmp_path / "filled.mkv"))
    before = frames[4].astype(int)
    changed = (filled[4] != before).any(axis=2)
    assert np.count_nonzero(changed & truth[4]) > 0.8 * np.count_nonzero(truth[4])
    assert np.array_equal(changed, changed & (_masks(source, tmp_path / "masks.mkv")[4] != 0))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["{video}", "{out}"], "nothing says what to mask: give --box, --point or --mask"),
        (["{video}", "{out}", "--gone", "0"], "nothing says what to mask"),
        (["{video}", "{out}", "--box", "1,1,200,5"], "does not lie in the frame of 160x120"),
        (["{video}", "{out}", "--box", "1,1,5"], "--box '1,1,5' cannot be read: give x,y,width"),
        (["{video}", "{out}", "--box", "1,1,5,5@9"], "frame 9 is not in"),
        (["{video}", "{out}", "--point", "160,5"], "point 160,5 is outside the frame"),
        (["{video}", "{out}", "--point", "1,5", "--gone", "7"], "frame 7 is not in"),
        (["{video}", "{out}", "--point", "1,5", "--gone", "0"], "is --gone and has marks too"),
        (["{video}", "{out}", "--mask", "{small}"], "is 5x4, video"),
        (["{video}", "{out}", "--mask", "{black}"], "is empty: mark at least one pixel"),
        (["{video}", "{out}", "--mask", "{missing}"], "missing.png' is not there"),
        (["{video}", "{out}", "--mask", "{video}"], "is no picture"),
        (["{video}", "{video}", "--box", "1,1,5,5"], "OUT is the input VIDEO"),
        (["{video}", "{black}", "--mask", "{black}"], "OUT ends in '.png'"),
        (["{video}", "{out}", "--box", "1,1,5,5", "--preview", "{out}"], "are both"),
        (["{video}", "{out}", "--box", "1,1,5,5", "--overlays"], "leave the marks out"),
        (["{video}", "{out}", "--overlays"], "the video has 5 frames, and what stands still"),
        (["{nowhere}", "{out}", "--overlays"], "is not there"),
    ],
)
def test_user_errors_are_one_line_and_write_nothing(tmp_path, capsys, argv, said):
    names = {
        "video": _written(tmp_path / "in.mkv", _panned(5)),
        "out": tmp_path / "out.mkv",
        "small": tmp_path / "small.png",
        "black": tmp_path / "black.png",
        "missing": tmp_path / "missing.png",
        "nowhere": tmp_path / "nowhere.mp4",
    }
    Image.fromarray(np.full((4, 5), 255, np.uint8)).save(names["small"])
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(names["black"])
    there = sorted(tmp_path.rglob("*"))
    assert _run(*(word.format(**names) for word in argv)) == 2
    *progress, error = capsys.readouterr().err.splitlines()
    assert said in error
    assert all(line.startswith("look at") for line in progress)
    assert sorted(tmp_path.rglob("*")) == there
