from fractions import Fraction

import av
import numpy as np
import pytest

from mlops.media import video
from mlops.media.encoding import Encoding, PictureWriter, VideoWriter
from mlops.media.video import Timed
from tests.ffmpeg import shown
from tests.tiny import write_video


def _tagged(path, matrix, pix_fmt, range_):
    """A video with colour tags."""
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
def test_colours_and_their_tags_are_kept(tmp_path, matrix, pix_fmt, range_):
    source = _tagged(tmp_path / "in.mp4", matrix, pix_fmt, range_)
    facts = video.facts_of(source)
    (frame,) = video.read(source)
    np.testing.assert_allclose(frame[24, 10].astype(int), (200, 40, 30), atol=4)
    with VideoWriter(tmp_path / "out.mp4", facts, Encoding(crf=4)) as writer:
        writer.write(Timed(frame, None))
    found = video.facts_of(tmp_path / "out.mp4").colour
    assert (found.matrix, found.primaries) == (facts.colour.matrix, facts.colour.primaries)
    assert found.transfer == facts.colour.transfer
    (again,) = video.read(tmp_path / "out.mp4")
    np.testing.assert_allclose(again[24, 10].astype(int), (200, 40, 30), atol=5)
    np.testing.assert_allclose(again[24, 50].astype(int), (20, 60, 190), atol=5)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv420p10le"])
def test_chroma_is_not_shifted(tmp_path, pixels):
    """Chroma subsampled by two columns does not move with a copy."""
    frame = av.VideoFrame(64, 48, pixels)
    deep = pixels.endswith("10le")
    for number, plane in enumerate(frame.planes):
        values = np.frombuffer(plane, np.uint16 if deep else np.uint8)
        values = values.reshape(plane.height, -1)
        values[:] = 128 * (4 if deep else 1)
        if number == 2:
            values[:, plane.width // 2 :] = 200 * (4 if deep else 1)
    source, out = tmp_path / "in.mkv", tmp_path / "out.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream(
            "libx265" if deep else "libx264", rate=25, options={"crf": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    copy(source, out, codec="hevc" if deep else "h264", crf=1)

    def red(path):
        """Column of the step in red."""
        with av.open(str(path)) as container:
            plane = next(container.decode(video=0)).reformat(format="yuv444p").planes[2]
        row = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[8, :64].astype(int)
        return (200 - row[16:48]).sum() / 72

    assert red(out) == pytest.approx(red(source), abs=0.1)


def test_brightness_does_not_drift(tmp_path):
    # swscale's quick path darkens by more than one level in each conversion.
    source = write_video(tmp_path / "in.mp4", frames=3)
    facts = video.facts_of(source)
    with VideoWriter(tmp_path / "out.mp4", facts, Encoding(crf=1)) as writer:
        for frame in video.read(source):
            writer.write(Timed(frame, None))
    with av.open(str(source)) as one, av.open(str(tmp_path / "out.mp4")) as two:
        before, after = (next(c.decode(video=0)).to_ndarray().astype(int) for c in (one, two))
    assert abs((after - before)[: facts.height].mean()) < 0.05


def test_a_file_appears_only_when_complete(tmp_path):
    facts = video.facts_of(write_video(tmp_path / "in.mp4", frames=2))
    frame = np.zeros((facts.height, facts.width, 3), np.uint8)

    def interrupted():
        with VideoWriter(tmp_path / "out.mp4", facts, Encoding(crf=20)) as writer:
            writer.write(Timed(frame, None))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_odd_sizes_are_padded_to_even(tmp_path):
    source = write_video(tmp_path / "in.mp4", frames=4, width=96, height=64, fps=10)
    frames = [frame[:63, :95] for frame in video.read(source)]
    like = video.VideoFacts(path=source, width=95, height=63, frames=4, fps=Fraction(10))
    with VideoWriter(tmp_path / "out.mp4", like, Encoding(crf=1)) as writer:
        for frame in frames:
            writer.write(Timed(frame, None))
    found = list(video.read(tmp_path / "out.mp4"))
    assert [frame.shape for frame in found] == [(64, 96, 3)] * 4
    np.testing.assert_allclose(found[0][:63, :95].astype(int), frames[0].astype(int), atol=24)


@pytest.mark.parametrize("frames", [1, 2, 31])
def test_every_frame_is_kept(tmp_path, frames):
    fps = Fraction(24000, 1001)
    facts = video.facts_of(write_video(tmp_path / "in.mp4", frames=frames, fps=fps))
    assert (facts.frames, facts.fps) == (frames, fps)
    with VideoWriter(tmp_path / "out.mp4", facts, Encoding(crf=30)) as writer:
        for frame in video.read(facts.path):
            writer.write(Timed(frame, None))
    assert video.count(tmp_path / "out.mp4") == frames
    assert video.facts_of(tmp_path / "out.mp4").fps == fps


def with_sound(path, *, seconds=2, tracks=("aac", "aac"), rotation=0, times=None):
    """A video of 25 fps with audio tracks, each a different tone."""
    source = write_video(path.with_name("silent.mp4"), frames=25 * seconds, width=96, height=64)
    frames = list(video.read(source))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        sounds = []
        for number, codec in enumerate(tracks):
            sound = container.add_stream(codec, rate=48000, layout="mono")
            sound.metadata["language"] = ("eng", "jpn")[number]
            sounds.append(sound)
        for at, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = times[at] if times else 40 * at
            picture.time_base = Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        for number, sound in enumerate(sounds):
            wave = np.sin(np.arange(48000 * seconds) * (0.02 + 0.03 * number))
            form = {"aac": "fltp", "libopus": "flt", "pcm_s16le": "s16"}[sound.codec_context.name]
            whole = (wave * 20000).astype(np.int16) if form == "s16" else wave.astype(np.float32)
            size = sound.codec_context.frame_size or 1024
            for start in range(0, len(wave) - size + 1, size):
                piece = av.AudioFrame.from_ndarray(
                    whole[None, start : start + size], format=form, layout="mono"
                )
                piece.sample_rate, piece.pts = 48000, start
                container.mux(sound.encode(piece))
            container.mux(sound.encode(None))
    return path


def sound_of(path):
    """(codec, language, bytes of all packets) of each track."""
    with av.open(str(path)) as container:
        tracks = list(container.streams.audio)
        if not tracks:
            return []
        found = {track.index: b"" for track in tracks}
        for packet in container.demux(tracks):
            found[packet.stream.index] += bytes(packet)
        return [(track.codec_context.name, track.language, found[track.index]) for track in tracks]


def copy(source, out, **encoding):
    facts = video.facts_of(source)
    with VideoWriter(out, facts, Encoding(**encoding)) as writer:
        for timed in video.read_timed(source):
            writer.write(timed)
    return video.facts_of(out)


def pts_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [float(frame.pts * stream.time_base) for frame in container.decode(stream)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_every_audio_track_is_copied_bit_for_bit(tmp_path, suffix):
    source = with_sound(tmp_path / "in.mp4")
    assert [one.language for one in video.facts_of(source).audio] == ["eng", "jpn"]
    copy(source, tmp_path / f"out{suffix}")
    before, after = sound_of(source), sound_of(tmp_path / f"out{suffix}")
    assert len(before) == 2
    assert before == after


def test_audio_and_frames_are_interleaved(tmp_path):
    """A player that reads sequentially never waits for the end of the file."""
    copy(with_sound(tmp_path / "in.mp4", seconds=6), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        packets = [
            (packet.stream.type, float(packet.dts * packet.time_base), packet.pos)
            for packet in container.demux()
            if packet.dts is not None
        ]
    packets.sort(key=lambda packet: packet[2])
    latest = {"audio": 0.0, "video": 0.0}
    for kind, time, _ in packets:
        latest[kind] = max(latest[kind], time)
        assert abs(latest["audio"] - latest["video"]) < 1.5


def test_variable_frame_timestamps_are_kept(tmp_path):
    times = [40 * at + (15 if at % 3 else 0) for at in range(50)]
    source = with_sound(tmp_path / "in.mp4", times=times)
    copy(source, tmp_path / "out.mp4")
    assert pts_of(tmp_path / "out.mp4") == pytest.approx(pts_of(source), abs=1e-3)
    assert np.std(np.diff(pts_of(source))) > 0.005


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_rotated_video_is_read_and_written_upright(tmp_path, rotation):
    source = with_sound(tmp_path / "in.mp4", seconds=1, rotation=rotation)
    facts = video.facts_of(source)
    upright = (96, 64) if rotation == 180 else (64, 96)
    assert (facts.width, facts.height) == upright
    found = copy(source, tmp_path / "out.mp4", crf=4)
    assert (found.width, found.height) == upright
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == upright
    one, other = next(video.read(source)), next(video.read(tmp_path / "out.mp4"))
    assert np.abs(one.astype(int) - other).mean() < 2
    # ffmpeg's own tool assumes centred chroma, and rotates that too.
    assert np.abs(shown(source)[0].astype(int) - shown(tmp_path / "out.mp4")[0]).mean() < 4
    assert np.abs(shown(source)[0].astype(int) - one).mean() < 2


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_lossless_round_trips(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (5, 33, 47, 3), np.uint8)  # odd sizes too
    like = video.VideoFacts(
        path=tmp_path, width=47, height=33, frames=5, fps=Fraction(25), colour=video.Colour(1, 1, 1)
    )
    out = tmp_path / f"out{suffix}"
    with VideoWriter(out, like, Encoding(lossless=True)) as writer:
        for frame in noise:
            writer.write(Timed(frame, None))
    assert np.array_equal(np.stack(list(video.read(out))), noise)


@pytest.mark.parametrize(
    ("codec", "suffix", "name"),
    [
        ("hevc", ".mp4", "hevc"),
        ("vp9", ".webm", "vp9"),
        ("av1", ".mkv", "libdav1d"),
    ],
)
def test_encoding_with_other_codecs(tmp_path, codec, suffix, name):
    source = write_video(tmp_path / "in.mp4", frames=6, width=96, height=64)
    out = tmp_path / f"out{suffix}"
    copy(source, out, codec=codec)
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.name == name
    before, after = (np.stack(list(video.read(one))).astype(int) for one in (source, out))
    assert np.abs(before - after).mean() < 4


def test_a_folder_of_pictures_round_trips(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), np.uint8)
    with PictureWriter(tmp_path / "frames") as writer:
        for frame in frames:
            writer.write(Timed(frame, None))
    facts = video.facts_of(tmp_path / "frames", Fraction(12))
    assert (facts.width, facts.height, facts.frames, facts.fps) == (30, 20, 4, 12)
    assert np.array_equal(np.stack(list(video.read(tmp_path / "frames"))), frames)
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]
