"""Footage as read by `inpaint`, and the same files as read by `shard`; ffmpeg is the reference."""

from fractions import Fraction

import numpy as np
import pytest

from data_pipeline.sources import decoding, footage, read, video_files
from data_pipeline.sources.fit import fitted, fitted_labels, is_other_shape
from data_pipeline.sources.numbering import natural, numbers_of
from data_pipeline.sources.record import BadVideoError, SourceStats
from tests.data_pipeline.sources.limits import LIMITS
from tests.ffmpeg import ffmpeg, shown

FILM = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=24:d=2")
H264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "2")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """48 frames with B-frames."""
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    ffmpeg(*FILM, *H264, path)
    return path


def both(path):
    """How many frames inpaint gets, and how many shard does at a constant rate."""
    facts = footage.facts_of(path)
    frames = sum(1 for _ in footage.timed(path))
    assert facts.frames == frames
    declared, _ = decoding.declared(path, 10_000)
    return frames, sum(times for _, times in decoding.frames(path, declared, LIMITS))


@pytest.mark.parametrize(
    ("name", "before", "after", "frames"),
    [
        ("ticks.avi", (), (), 48),  # counts in ticks of 1/600 s
        ("edit.mp4", ("-ss", "0.7"), (), 31),  # an edit list leaves 17 out
        (
            "late.mkv",
            (),
            ("-output_ts_offset", "36000"),
            48,
        ),  # its declared duration is its end time
        ("wrap.ts", (), ("-output_ts_offset", "95442.8", "-muxdelay", "0"), 48),
        ("pieces.mp4", (), ("-movflags", "frag_keyframe+empty_moov"), 48),
    ],
)
def test_intact_files_give_all_frames(film, tmp_path, name, before, after, frames):
    ffmpeg(*before, "-i", film, "-c", "copy", *after, tmp_path / name)
    assert both(tmp_path / name) == (frames, frames)
    assert len(shown(tmp_path / name)) == frames


def test_avi_frames_keep_their_order(film, tmp_path):
    """Its packets have no presentation time: with B-frames two frames had the same time."""
    ffmpeg("-i", film, "-c", "copy", tmp_path / "a.avi")
    facts = footage.facts_of(tmp_path / "a.avi")
    times = [one.pts * facts.time_base for one in footage.timed(tmp_path / "a.avi")]
    assert times == [Fraction(n, 24) for n in range(48)]
    assert facts.start == 0


def test_declared_properties_of_footage(tmp_path):
    path = tmp_path / "a.mov"
    tags = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    ffmpeg(*FILM, "-vf", f"setsar=4/3,format=yuva444p10le,{tags}", "-c:v", "prores_ks",
           "-profile:v", "4", tmp_path / "flat.mov")  # fmt: skip
    ffmpeg("-display_rotation", 90, "-i", tmp_path / "flat.mov", "-c", "copy", path)
    facts = footage.facts_of(path)
    assert (facts.width, facts.height, facts.aspect) == (48, 64, Fraction(3, 4))
    assert (facts.depth, facts.alpha, facts.pixels[:7]) == (12, True, "yuva444")
    assert (facts.colour.matrix, facts.colour.primaries, facts.colour.transfer) == (9, 9, 16)
    assert (facts.frames, facts.declared, facts.fps, facts.interlaced) == (48, 48, 24, False)


@pytest.mark.parametrize("full", [False, True])
def test_deep_frames_have_more_than_8_bits(tmp_path, full):
    path = tmp_path / "a.mkv"
    grey = f"geq=lum='400+X':cb=512:cr=512,setparams=range={'full' if full else 'limited'}"
    black = f"color=s=64x16:r=25:d=0.1,format=yuv420p10le,{grey}"
    ffmpeg("-f", "lavfi", "-i", black, "-c:v", "libx265", "-x265-params", "lossless=1", path)
    (one, *_) = footage.timed(path)
    assert footage.facts_of(path).colour.full_range == full
    ten = 400 + np.arange(64)
    meant = ten / 1023 if full else (ten - 64) / 876
    assert np.abs(one.deep[8, :, 1] / 65535 - meant).max() < (0.001 if full else 0.0005)
    assert len(np.unique(one.deep[8, :, 1])) == 64
    assert np.abs(one.frame[8, :, 1] - one.deep[8, :, 1] / 257).max() < 1
    assert next(footage.timed(write_8_bits(tmp_path))).deep is None


def write_8_bits(folder):
    ffmpeg(*FILM, *H264, folder / "8.mp4")
    return folder / "8.mp4"


def test_a_huge_frame(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "color=red:s=7680x4320:r=25:d=0.04", "-c:v", "libx264", "-preset",
           "ultrafast", tmp_path / "8k.mp4")  # fmt: skip
    (one,) = footage.timed(tmp_path / "8k.mp4")
    assert one.frame.shape == (4320, 7680, 3)


def test_an_unexpected_decoder_error_is_limited_to_one_video(film, monkeypatch):
    def broken(*_):
        raise RuntimeError("a library\nfell over")

    monkeypatch.setattr(decoding, "frames", broken)
    monkeypatch.setattr(decoding, "declared", broken)
    file = video_files.File(str(film), "a.mp4", film.stat().st_size)
    video = video_files.look(file, 1000)
    assert video.bad == "makes its reader fail (RuntimeError)"
    fine = video_files._record(file, 48, "24/1")
    with pytest.raises(BadVideoError) as caught:
        list(read.jpegs(fine, 64, 48, LIMITS, SourceStats()))
    assert caught.value.reason == "makes its reader fail (RuntimeError)"
    assert caught.value.detail == "a library fell over"


# Shapes


@pytest.mark.parametrize(
    ("size", "aspect", "other"),
    [
        ((1920, 1080), 1, False),
        ((854, 480), 1, False),
        ((1080, 1920), 1, True),
        ((640, 480), 1, True),
        ((720, 576), Fraction(64, 45), False),  # a wide DVD
        ((720, 576), Fraction(16, 15), True),
    ],
)
def test_aspect_ratios_that_count_as_another_shape(size, aspect, other):
    assert is_other_shape(size, (432, 240), Fraction(aspect)) == other


@pytest.mark.parametrize("size", [(9, 16), (16, 9), (1, 300), (300, 1), (7, 5)])
@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch"])
def test_every_shape_is_fitted_with_its_labels(size, fit):
    frame = np.full((size[1], size[0], 3), 200, np.uint8)
    labels = np.full((size[1], size[0]), 3, np.uint8)
    got, where = fitted(frame, (32, 18), fit), fitted_labels(labels, (32, 18), fit)
    assert (got.shape, where.shape) == ((18, 32, 3), (18, 32))
    assert np.array_equal(got[..., 0] > 0, where == 3)  # labels lie where their frame does
    bars = fit == "letterbox" and is_other_shape(size, (32, 18))
    assert (where == 0).any() == bars


# Numbers


def test_natural_order():
    names = ["1", "10", "11", "2", "a10b2", "a10b1", "A2b3", "frame-9", "frame-08"]
    assert sorted(names, key=natural) == [
        "1", "2", "10", "11", "A2b3", "a10b1", "a10b2", "frame-08", "frame-9",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["1", "2", "3"], "1 to 3"),
        (["00000", "00005", "00010", "00020"], "0 to 20 in steps of 5, 15 is missing"),
        ([f"f{n:03d}" for n in (1, 2, 3, 10)], "1 to 10, 4, 5, 6, 7, 8 and 1 more are missing"),
        (["7"], "7 to 7"),
    ],
)
def test_frame_numbers_are_summarised(names, said):
    assert numbers_of(names).in_words() == said


@pytest.mark.parametrize("names", [[], ["a", "b"], ["a1", "b"], ["a1", "b1"]])
def test_names_without_frame_numbers(names):
    assert numbers_of(names) is None
