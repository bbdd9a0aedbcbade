from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from data_pipeline.door import UserError
from data_pipeline.sources.record import BadVideoError
from data_pipeline.sources.video_files import decode, find
from tests.tiny import write_video


def test_what_a_file_says(tmp_path):
    path = write_video(tmp_path / "my clip.mp4", frames=7, fps=Fraction(30000, 1001))
    (video,) = find([str(path)], [])
    assert (video.id, video.split, video.name) == ("my_clip", "train", "my clip.mp4")
    assert (video.frames, video.fps) == (7, "30000/1001")


def test_frames_come_at_the_size_asked_for(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=5, height=48, width=80)
    (video,) = find([str(path)], [])
    own = list(decode(video, 80, 48))
    small = list(decode(video, 32, 24))
    assert [f.shape for f in own] == [(48, 80, 3)] * 5
    assert [f.shape for f in small] == [(24, 32, 3)] * 5
    assert all(f.dtype == np.uint8 for f in own + small)
    assert abs(own[0].mean() - small[0].mean()) < 2
    assert not np.array_equal(own[0], own[4])
    assert all(np.array_equal(a, b) for a, b in zip(own, decode(video, 80, 48), strict=True))


def test_frames_are_as_bright_as_the_standard_says(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=1, height=64, width=64)
    (video,) = find([str(path)], [])
    with av.open(str(path)) as container:
        planes = next(container.decode(video=0)).to_ndarray().astype(float)
    # BT.601, limited range: the luma plane first, then two chroma planes of half the size.
    luma, blue, red = planes[:64], planes[64:80].reshape(32, 32), planes[80:].reshape(32, 32)
    y, u, v = (luma - 16) / 219, (blue.mean() - 128) / 224, (red.mean() - 128) / 224
    expected = np.array([y.mean() + 1.402 * v, y.mean() - 0.344 * u - 0.714 * v]) * 255
    (frame,) = decode(video, 64, 64)
    assert np.abs(frame.mean(axis=(0, 1))[:2] - expected).max() < 0.5


def test_a_container_that_does_not_count_its_frames(tmp_path):
    with (
        av.open(str(write_video(tmp_path / "a.mp4", frames=9))) as source,
        av.open(str(tmp_path / "b.mkv"), "w") as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    (video,) = find([str(tmp_path / "b.mkv")], [])
    assert video.frames == 9
    assert len(list(decode(video, 96, 96))) == 9


def test_inputs_are_sorted_and_held_out(tmp_path):
    paths = [str(write_video(tmp_path / f"{name}.mp4", frames=2)) for name in "cab"]
    videos = find(paths, ["b"])
    assert [(v.id, v.split) for v in videos] == [("a", "train"), ("b", "test"), ("c", "train")]


def refusal(inputs, held_out=()):
    with pytest.raises(UserError) as caught:
        find([str(path) for path in inputs], held_out)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_inputs_that_cannot_be(tmp_path):
    good = write_video(tmp_path / "good.mp4", frames=2)
    again = write_video(tmp_path / "sub" / "good.mp4", frames=2)
    assert "is not there (did you mean 'good.mp4'?)" in refusal([tmp_path / "god.mp4"])
    assert "is a directory" in refusal([tmp_path])
    assert "both give the id 'good'" in refusal([good, again])
    assert "'god' is not among the inputs (did you mean 'good'?)" in refusal([good], ["god"])
    assert "is a URI" in refusal(["s3://bucket/a.mp4"])


def test_files_that_are_no_videos(tmp_path):
    empty, text, sound = (tmp_path / name for name in ("empty.mp4", "text.mp4", "sound.wav"))
    empty.touch()
    text.write_text("not a video " * 100)
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    assert "empty.mp4 is empty" in refusal([empty])
    assert "text.mp4 cannot be opened as a video (Invalid data" in refusal([text])
    assert "sound.wav has no video stream" in refusal([sound])


def test_files_of_a_distribution(tmp_path, monkeypatch):
    package = tmp_path / "tinyvideos"
    write_video(package / "data" / "bikes.mp4", frames=3)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    info = tmp_path / "tiny_videos-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-videos\nVersion: 1.0\n")
    (info / "RECORD").write_text("tinyvideos/__init__.py,,\ntinyvideos/data/bikes.mp4,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (video,) = find(["wheel:tiny-videos/bikes.mp4"], [])
    assert (video.id, video.frames) == ("bikes", 3)
    assert "(did you mean 'bikes.mp4'?)" in refusal(["wheel:tiny-videos/bike.mp4"])
    assert "no distribution 'tiny-vids' is installed" in refusal(["wheel:tiny-vids/bikes.mp4"])


def test_a_video_that_gives_fewer_frames_than_it_says(tmp_path):
    (video,) = find([str(write_video(tmp_path / "a.mp4", frames=20))], [])
    assert len(list(decode(replace(video, frames=21), 96, 96))) == 20
    with pytest.raises(BadVideoError, match="gives 20 frames, but its container says 40"):
        list(decode(replace(video, frames=40), 96, 96))


def test_a_video_whose_bytes_are_noise(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=20)
    (video,) = find([str(path)], [])
    data = bytearray(path.read_bytes())
    # The index says twenty frames; the second half of their bytes is noise now.
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") if data.index(b"moov") > start else len(data)
    middle = (start + end) // 2
    data[middle:end] = np.random.default_rng(0).bytes(end - middle)
    path.write_bytes(data)
    with pytest.raises(BadVideoError, match=r"cannot be decoded after \d+ frames|gives \d+ frames"):
        list(decode(video, 96, 96))
