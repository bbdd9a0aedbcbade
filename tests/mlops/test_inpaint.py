import json
from fractions import Fraction

import numpy as np
import pytest

from mlops import inpaint, model, names, registry, video
from tests.mlops import foreign
from tests.tiny import write_video

BOX = "20,10,24,16"  # x, y, width, height


@pytest.fixture
def champion(store, tmp_path):
    """A model that fills black and works at another size than the videos."""
    version = foreign.register(store, tmp_path / "model", foreign.BLACK, size=(48, 32))
    registry.set_alias(store, version, names.CHAMPION)
    return store


def _run(uri, *argv):
    return inpaint.main([*map(str, argv), "--tracking-uri", uri])


def test_frames_fps_and_known_pixels_stay_and_the_hole_is_filled(champion, tmp_path, capsys):
    fps = Fraction(30000, 1001)
    source = write_video(tmp_path / "in.mp4", frames=90, width=96, height=64, fps=fps)
    out = tmp_path / "out.mp4"
    assert _run(champion, source, BOX, out, "--json") == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["frames"], said["fps"], said["model"]) == (90, "30000/1001", "models:/sttn/1")
    found = video.facts_of(out)
    assert (found.frames, found.fps, found.width, found.height) == (90, fps, 96, 64)
    before = np.stack(list(video.read(source))).astype(int)
    after = np.stack(list(video.read(out))).astype(int)
    error = np.abs(before - after).mean(axis=3)  # [T,H,W]
    assert after[:, 12:24, 22:42].max() < 25  # black, but for the codec
    error[:, 10:26, 20:44] = 0
    assert error.mean() < 2
    # Away from the rim nothing but the codec touches a pixel.
    assert error[:, 40:].max() < 16


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["{video}", "90,0,10,10", "{out}"], "box 90,0,10,10 does not lie in the 96x64 pixels"),
        (["{video}", "{long}", "{out}"], "has 7 frames, video"),
        (["{video}", "{wide}", "{out}"], "is 128x64, video"),
        (["{missing}", BOX, "{out}"], "missing.mp4 is not there"),
        (["{text}", BOX, "{out}"], "cannot be read as a video: Invalid data"),
        (["{video}", BOX, "{video}"], "OUT is the input"),
        (["{video}", BOX, "{nowhere}"], "its folder is not there"),
        (["{video}", BOX, "{out}", "--model", "models:/sttn@best"], "aliases: candidate = vers"),
        (["{video}", BOX, "{out}", "--crf", "70"], "--crf is 70: give 0 (best) to 51"),
        (["{video}", BOX, "{avi}"], "give a name that ends in .mp4"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(champion, tmp_path, capsys, argv, said):
    files = {
        "video": write_video(tmp_path / "in.mp4", frames=5, width=96, height=64),
        "long": write_video(tmp_path / "long.mp4", frames=7, width=96, height=64),
        "wide": write_video(tmp_path / "wide.mp4", frames=5, width=128, height=64),
        "text": tmp_path / "notes.txt",
        "missing": tmp_path / "missing.mp4",
        "nowhere": tmp_path / "no" / "out.mp4",
        "out": tmp_path / "out.mp4",
        "avi": tmp_path / "out.avi",
    }
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
def test_a_model_that_fails_leaves_nothing_behind(store, tmp_path, capsys, body):
    foreign.register(store, tmp_path / "model", body)
    source = write_video(tmp_path / "in.mp4", frames=5, width=96, height=64)
    out = tmp_path / "out.mp4"
    out.write_bytes(b"the result of last time")
    assert _run(store, source, BOX, out, "--model", "models:/sttn@candidate") == 1
    assert out.read_bytes() == b"the result of last time"
    assert sorted(p.name for p in tmp_path.iterdir() if "part" in p.name) == []
    capsys.readouterr()


def test_a_model_that_streams_is_streamed_and_its_frames_stay_in_order():
    class Streaming:
        """Answers three frames late, each frame with its hole at 255."""

        size = None

        def stream(self, pairs):
            late = []
            for frame, mask in pairs:
                late.append(np.where(mask[..., None] != 0, np.uint8(255), frame))
                if len(late) > 3:
                    yield late.pop(0)
            yield from late

    def pairs():
        for i in range(8):
            mask = np.zeros((4, 6), np.uint8)
            mask[i % 4] = 1
            yield np.full((4, 6, 3), i, np.uint8), mask

    found = list(inpaint.inpainted(Streaming(), pairs()))
    assert len(found) == 8
    for i, frame in enumerate(found):
        assert np.unique(frame[i % 4]).tolist() == [255]
        assert np.unique(np.delete(frame, i % 4, axis=0)).tolist() == [i]


def test_a_foreign_model_gets_windows_and_known_pixels_are_kept(store, tmp_path):
    # It answers the number of frames it was given at once, everywhere.
    body = "frames[:] = len(frames)"
    loaded = model.load(store, foreign.register(store, tmp_path / "model", body))
    mask = np.eye(4, dtype=np.uint8)
    frames = list(loaded.stream((np.full((4, 4, 3), 7, np.uint8), mask) for _ in range(45)))
    assert [frame[0, 0, 0] for frame in frames] == [40] * 40 + [5] * 5
    assert all((frame[mask == 0] == 7).all() for frame in frames)
