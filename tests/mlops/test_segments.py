"""Long videos in segments: the same frames as in one piece, and the same file after a kill."""

import random
import time
from contextlib import closing
from itertools import islice

import numpy as np
import pytest

from data_pipeline.cli.command import UserError
from data_pipeline.storage import lake
from mlops import inpaint
from mlops.fills.flow import dis
from mlops.fills.propagation import diffused, propagated
from mlops.inpainting.filling import CONTEXT, How, filled
from mlops.inpainting.segments import Place, opened
from mlops.media.holes import Hole
from mlops.media.video import Timed
from mlops.tracking import loaded_model
from tests.faults.processes import finish, kill, start_command
from tests.loopback import bucket_on_s3
from tests.mlops import foreign
from tests.tiny import write_video
from tests.training.small import SIDE, small_generator
from training.served import Inpainter

BOX = "20,10,24,16"
FRAMES = 200
LONG = 300
INVERSE = "frames[holes] = 255 - frames[holes]"
SLOW = f"import time; time.sleep(0.5); {INVERSE}"


class Network:
    """A small generator behind what a loaded version offers; counts the frames it was given."""

    size = (SIDE, SIDE)

    def __init__(self, fill):
        self._served = Inpainter(diffused, propagated)
        self._served._generator = small_generator(1, fill=fill, trained=True).eval()
        self.given = []

    def stream(self, pairs, crop, *, propagate, flow):
        params = {"propagate": True} if propagate else {}
        if crop:
            params |= {"crop_width": crop[0], "crop_height": crop[1]}
        self.given.append(0)

        def counted():
            for pair in pairs:
                self.given[-1] += 1
                yield pair

        return self._served.stream(counted(), params, flow)


def _film(frames=FRAMES, side=SIDE):
    """Frames that all differ; a hole that moves, and none in every ninth frame."""
    drawn = np.random.default_rng(0)
    for i in range(frames):
        mask = np.zeros((side, side), np.uint8)
        if i % 9 != 8:
            mask[i % 7 : i % 7 + 6, 3:9] = 1
        yield Timed(drawn.integers(0, 256, (side, side, 3), np.uint8), i), Hole(mask, None)


def _results(model, film, **how):
    how = {"native": False, "propagate": False, **how}
    return np.stack([one.result for one in filled(model, film, How(**how))])


@pytest.mark.parametrize(
    ("fill", "how"),
    [
        ("none", {}),
        ("propagate", {}),
        ("none", {"propagate": True}),
        ("propagate", {"flow": True}),
    ],
)
def test_segments_give_the_frames_of_the_video_in_one_piece(fill, how):
    if "flow" in how:  # of each frame by its number, as files are
        source = dis()
        how = {**how, "flow": lambda n, a, b: tuple(n % 3 + one for one in source(n, a, b))}
    model = Network(fill)
    whole = _results(model, _film(), **how)
    parts = _results(model, _film(), segment_frames=80, **how)
    assert (whole == parts).all()
    # It looks no further ahead than it must: 50 frames, and 20 more where they are propagated.
    one_piece, *segments = model.given
    assert one_piece == FRAMES
    assert len(segments) == 3
    assert segments[0] <= 80 + 70
    assert segments[1] <= CONTEXT + 80 + 70


def test_at_full_resolution_an_interrupted_video_goes_on_to_the_same_frames(tmp_path):
    """There the network remembers which part of the frame it works on."""
    model, how = Network("none"), How(native=True, propagate=False, segment_frames=80)
    place = Place(uri=str(tmp_path / "kept"), identity="one")

    def results(frames=FRAMES):
        with (
            opened(place, 80) as segments,
            closing(filled(model, _wandering(), how, segments)) as all,
        ):
            return np.stack([one.result for one in islice(all, frames)])

    whole = results()
    place.forget()
    assert (results(130) == whole[:130]).all()
    assert place.count() == 1
    assert (results() == whole).all()
    assert place.count() == 2  # of three: the last one is not whole


def _wandering():
    """Frames of three times the network's size, with a hole that goes from side to side."""
    for i, (timed, _) in enumerate(_film(side=3 * SIDE)):
        mask = np.zeros(timed.frame.shape[:2], np.uint8)
        left = abs(i % 80 - 40)
        mask[20:26, left : left + 6] = 1
        yield timed, Hole(mask, None)


def _run(uri, *argv):
    return inpaint.main([*map(str, argv), "--tracking-uri", uri])


@pytest.fixture
def film(store, tmp_path):
    """A registry whose candidate inverts holes, and a command for a video of four segments."""
    foreign.register(store, tmp_path / "model", INVERSE, size=(48, 32))
    source = write_video(tmp_path / "in.mp4", frames=LONG, width=96, height=64)
    flags = "--model", "models:/sttn@candidate", "--segment-frames", 80, "--lossless"
    return store, (source, BOX, tmp_path / "out.mp4", *flags)


@pytest.fixture
def given(monkeypatch):
    """Frames that models are given, and how many of them end the run: it fails at the next."""
    seen, limit = [], [LONG * 2]
    true = loaded_model.LoadedModel.stream

    def counted(self, pairs, *args, **kwargs):
        def each():
            for pair in pairs:
                seen.append(pair)
                if len(seen) > limit[0]:
                    raise UserError("the run ends here")
                yield pair

        return true(self, each(), *args, **kwargs)

    monkeypatch.setattr(loaded_model.LoadedModel, "stream", counted)
    return seen, limit


def test_an_interrupted_video_goes_on_after_its_last_whole_segment(film, given, tmp_path, capsys):
    uri, command = film
    seen, limit = given
    assert _run(uri, *command) == 0
    undisturbed, whole = command[2].read_bytes(), len(seen)
    assert list(tmp_path.glob(".*")) == []
    command[2].unlink()

    seen.clear()
    limit[0] = 330  # in the third segment
    assert _run(uri, *command) == 2
    kept = tmp_path / ".out.mp4.segments"
    assert f"160 frames are kept in {kept}: the same command goes on" in capsys.readouterr().out
    assert not command[2].exists()
    assert [path.name for path in sorted(kept.rglob("*.zip"))] == ["00000.zip", "00001.zip"]

    # One that was damaged since is filled again.
    (damaged,) = kept.rglob("00001.zip")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    seen.clear()
    limit[0] = whole
    assert _run(uri, *command) == 0
    assert "goes on after 160 frames that an interrupted run" in capsys.readouterr().out
    assert len(seen) == CONTEXT + 80 + CONTEXT + 80 + CONTEXT + 60
    assert command[2].read_bytes() == undisturbed
    assert not kept.exists()


def test_segments_of_other_options_are_not_used(film, given, tmp_path, capsys):
    uri, command = film
    seen, limit = given
    limit[0] = 200
    assert _run(uri, *command) == 2
    limit[0] = 10 * LONG
    seen.clear()
    assert _run(uri, *command, "--dilate", 2) == 0
    assert "goes on after" not in capsys.readouterr().out
    assert len(seen) == 3 * CONTEXT + LONG
    dilated = command[2].read_bytes()
    assert _run(uri, command[0], BOX, tmp_path / "new.mp4", *command[3:], "--dilate", 2) == 0
    assert (tmp_path / "new.mp4").read_bytes() == dilated
    assert list(tmp_path.glob(".*")) == []


def test_a_video_of_one_segment_keeps_nothing(film, given, tmp_path):
    uri, command = film
    given[1][0] = 250
    assert _run(uri, *command[:-3], "--lossless") == 2
    assert list(tmp_path.glob(".*")) == []


def test_a_segment_is_of_whole_windows(film, capsys):
    uri, command = film
    assert _run(uri, *command[:-3], "--segment-frames", 90) == 2
    assert "--segment-frames is 90: give a multiple of 40" in capsys.readouterr().err


def test_segments_are_kept_in_a_store():
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), np.uint8)
    with bucket_on_s3("lake") as bucket:
        old, new = (Place(uri=f"{bucket}/_work/a.mp4", identity=name) for name in ("old", "new"))
        for place in (old, new):
            with opened(place, 3) as segments, segments.writing(0) as keep:
                assert segments.count == 0
                for frame in frames:
                    keep(frame)
        assert (old.count(), new.count()) == (0, 1)
        with opened(new, 3) as segments:
            assert segments.count == 1
            assert (np.stack(list(segments.changes(0, (4, 6, 3)))) == frames).all()
            with segments.writing(1) as keep:
                keep(frames[0])  # of the end of a video, which is soon written
        with opened(new, 4) as segments:
            assert segments.count == 0
        assert new.count() == 1
        new.forget()
        assert lake.list_files(bucket) == []


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(5))
def test_a_killed_video_goes_on_to_the_same_bytes(store, tmp_path, seed):
    """SIGKILL at random moments, until it comes to its end."""
    foreign.register(store, tmp_path / "model", SLOW)
    source = write_video(tmp_path / "in.mp4", frames=400, width=96, height=64)
    drawn, killed = random.Random(seed), 0
    flags = (
        "--model", "models:/sttn@candidate", "--tracking-uri", store, "--lossless",
        "--segment-frames", 80,
    )  # fmt: skip
    out, kept = tmp_path / "out.mp4", tmp_path / ".out.mp4.segments"
    for _ in range(3):
        before = len(list(kept.rglob("*.zip")))
        process = start_command("mlops/inpaint.py", source, BOX, out, *flags)
        wanted = before + drawn.randrange(2)
        while process.poll() is None and len(list(kept.rglob("*.zip"))) < wanted:
            time.sleep(0.02)
        time.sleep(drawn.uniform(0, 1))
        killed += process.poll() is None and kill([process.pid])
        finish(process)
    code, _, error = finish(start_command("mlops/inpaint.py", source, BOX, out, *flags))
    assert code == 0, error
    assert killed
    assert inpaint.main([*map(str, (source, BOX, tmp_path / "whole.mp4", *flags))]) == 0
    assert out.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert not kept.exists()
