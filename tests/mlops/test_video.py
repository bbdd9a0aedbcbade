from fractions import Fraction

import av
import numpy as np
import pytest

from mlops import video
from tests.tiny import write_video


def _tagged(path, matrix, pix_fmt, range_):
    """A video that says which colours it means."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24), options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = matrix
        context.color_range = range_
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:, :32], picture[:, 32:] = (200, 40, 30), (20, 60, 190)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format=pix_fmt, dst_colorspace=matrix, dst_color_range=range_
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("matrix", "pix_fmt", "range_"),
    [
        (1, "yuv420p", 1),
        (6, "yuv420p", 1),
        (1, "yuv420p", 2),
        (1, "yuvj420p", 2),
        (5, "yuv444p", 1),
    ],
)
def test_colours_and_what_they_mean_are_kept(tmp_path, matrix, pix_fmt, range_):
    source = _tagged(tmp_path / "in.mp4", matrix, pix_fmt, range_)
    facts = video.facts_of(source)
    (frame,) = video.read(source)
    np.testing.assert_allclose(frame[24, 10].astype(int), (200, 40, 30), atol=4)
    with video.H264Writer(tmp_path / "out.mp4", facts, crf=4) as writer:
        writer.write(frame)
    assert video.facts_of(tmp_path / "out.mp4").colour == facts.colour
    (again,) = video.read(tmp_path / "out.mp4")
    np.testing.assert_allclose(again[24, 10].astype(int), (200, 40, 30), atol=5)
    np.testing.assert_allclose(again[24, 50].astype(int), (20, 60, 190), atol=5)


def test_brightness_does_not_drift(tmp_path):
    # swscale's quick path darkens by more than one level in each conversion.
    source = write_video(tmp_path / "in.mp4", frames=3)
    facts = video.facts_of(source)
    with video.H264Writer(tmp_path / "out.mp4", facts, crf=1) as writer:
        for frame in video.read(source):
            writer.write(frame)
    with av.open(str(source)) as one, av.open(str(tmp_path / "out.mp4")) as two:
        before, after = (next(c.decode(video=0)).to_ndarray().astype(int) for c in (one, two))
    assert abs((after - before)[: facts.height].mean()) < 0.05


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    facts = video.facts_of(write_video(tmp_path / "in.mp4", frames=2))
    frame = np.zeros((facts.height, facts.width, 3), np.uint8)

    def interrupted():
        with video.H264Writer(tmp_path / "out.mp4", facts, crf=20) as writer:
            writer.write(frame)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_odd_sizes_get_a_column_and_a_row(tmp_path):
    source = write_video(tmp_path / "in.mp4", frames=4, width=96, height=64, fps=10)
    frames = [frame[:63, :95] for frame in video.read(source)]
    like = video.VideoFacts(source, 95, 63, 4, Fraction(10), video.Colour(2, 2, 2))
    with video.H264Writer(tmp_path / "out.mp4", like, crf=1) as writer:
        for frame in frames:
            writer.write(frame)
    found = list(video.read(tmp_path / "out.mp4"))
    assert [frame.shape for frame in found] == [(64, 96, 3)] * 4
    np.testing.assert_allclose(found[0][:63, :95].astype(int), frames[0].astype(int), atol=24)


@pytest.mark.parametrize("frames", [1, 2, 31])
def test_every_frame_is_kept(tmp_path, frames):
    fps = Fraction(24000, 1001)
    facts = video.facts_of(write_video(tmp_path / "in.mp4", frames=frames, fps=fps))
    assert (facts.frames, facts.fps) == (frames, fps)
    with video.H264Writer(tmp_path / "out.mp4", facts, crf=30) as writer:
        for frame in video.read(facts.path):
            writer.write(frame)
    assert video.count(tmp_path / "out.mp4") == frames
    assert video.facts_of(tmp_path / "out.mp4").fps == fps
