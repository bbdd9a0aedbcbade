"""Video files compared with ffmpeg's own tools, and files that are no videos."""

import hashlib
import io
import socket
import struct
import threading
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_pipeline.format import sample
from data_pipeline.sources import decoding, video_files
from data_pipeline.sources.frame_times import Times, at_constant_rate
from data_pipeline.sources.record import BadVideoError, SourceStats, SourceVideo
from tests.data_pipeline.sources.limits import LIMITS, bad, read
from tests.layouts import encoded, picture
from tests.tiny import write_video

BIT_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
)


def record(path):
    return video_files.look(video_files.File(str(path), path.name, path.stat().st_size), 10_000)


def shown(path, declared=None, limits=LIMITS):
    """All frames at the video's rate, uint8 [T, h, w, 3]."""
    declared = decoding.declared(path, 10_000)[0] if declared is None else declared
    frames = [f for f, times in decoding.frames(path, declared, limits) for _ in range(times)]
    return np.stack(frames).astype(int)


def write(
    path,
    frames,
    *,
    codec="ffv1",
    pix_fmt="yuv444p",
    rate=25,
    pts=None,
    time_base=None,
    options=None,
    prepare=lambda _: None,
    container_options=None,
):
    """Encode frames, uint8 [h, w, 3] or AVFrames, at these times."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        first = frames[0]
        height, width = (
            first.shape[:2] if isinstance(first, np.ndarray) else (first.height, first.width)
        )
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.thread_count = 1
        if time_base:
            stream.codec_context.time_base = time_base
        prepare(stream)
        for number, frame in enumerate(frames):
            picture = frame if isinstance(frame, av.VideoFrame) else as_frame(frame, pix_fmt)
            picture.pts = pts[number] if pts else number
            picture.time_base = time_base or Fraction(1, rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def as_frame(pixels, pix_fmt):
    return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)


MOVING = [picture(number) for number in range(12)]


# Plain files


def test_declared_properties_of_a_file(tmp_path):
    path = write_video(tmp_path / "my clip.mp4", frames=7, fps=Fraction(30000, 1001))
    video = record(path)
    assert (video.id, video.split, video.name) == ("my_clip", "train", "my clip.mp4")
    assert (video.frames, video.fps, video.bytes) == (7, "30000/1001", path.stat().st_size)


def test_frames_have_the_requested_size(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=5, height=48, width=80)
    video, seen = record(path), SourceStats()
    own = [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in read(video, 80, 48)]
    small = list(video_files.jpegs(video, (32, 24), LIMITS, seen, "stretch"))
    assert [frame.shape for frame in own] == [(48, 80, 3)] * 5
    assert (seen.width, seen.height) == (80, 48)
    assert seen.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    full = shown(path).astype(np.uint8)
    assert small == [
        sample.encode_frame(
            np.asarray(Image.fromarray(frame).resize((32, 24), Image.Resampling.BICUBIC))
        )
        for frame in full
    ]


def test_plain_files_decode_exactly_as_by_pyav(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=30, height=50, width=70)
    with av.open(str(path)) as container:
        reformatter = VideoReformatter()
        want = [
            reformatter.reformat(f, format="rgb24", interpolation=BIT_EXACT, threads=1).to_ndarray()
            for f in container.decode(video=0)
        ]
    assert np.array_equal(shown(path), np.stack(want))


def test_containers_without_a_frame_count(tmp_path):
    source = write_video(tmp_path / "a.mp4", frames=9)
    for name in ("b.mkv", "b.ts", "b.flv", "b.h264", "b.mov", "b.nut"):
        with av.open(str(source)) as read_from, av.open(str(tmp_path / name), "w") as target:
            stream = target.add_stream_from_template(read_from.streams.video[0])
            for packet in read_from.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        video = record(tmp_path / name)
        assert (video.bad, video.frames) == ("", 9), name
        assert np.array_equal(shown(tmp_path / name), shown(source)), name


# Colours


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p", "yuva420p", "yuvj420p"])
@pytest.mark.parametrize(
    ("space", "kr", "kb"),
    [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (2, 0.299, 0.114), (9, 0.2627, 0.0593)],
)
@pytest.mark.parametrize("full", [False, True])
def test_colour_conversion_follows_the_standards(tmp_path, pix_fmt, space, kr, kb, full):
    full = full or pix_fmt == "yuvj420p"
    luma, blue, red = 100, 90, 160
    frame = av.VideoFrame(50, 34, pix_fmt)
    for plane, value in zip(frame.planes, (luma, blue, red, 255), strict=False):
        deep = pix_fmt.endswith("10le")
        np.frombuffer(plane, np.uint16 if deep else np.uint8)[:] = value * 4 if deep else value
    frame.colorspace, frame.color_range = space, 2 if full else 1

    def tags(stream):
        stream.codec_context.colorspace = space
        stream.codec_context.color_range = 2 if full else 1

    codec = "mjpeg" if pix_fmt == "yuvj420p" else "ffv1"
    path = write(tmp_path / "a.mkv", [frame] * 5, codec=codec, pix_fmt=pix_fmt, prepare=tags)
    if pix_fmt == "yuvj420p":
        kr, kb = 0.299, 0.114  # JPEG has one space only
    y = luma / 255 if full else (luma - 16) / 219
    u, v = ((c - 128) / (255 if full else 224) for c in (blue, red))
    r, b = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    wanted = np.array([r, (y - kr * r - kb * b) / (1 - kr - kb), b]) * 255
    assert np.abs(shown(path)[0, 10:20, 10:20] - wanted).max() < 1.6


def test_colour_conversion_equals_swscale(tmp_path):
    def tags(stream):
        stream.codec_context.colorspace = 1
        stream.codec_context.color_range = 1

    path = write(tmp_path / "a.mkv", MOVING, pix_fmt="yuv420p", prepare=tags)
    with av.open(str(path)) as container:
        frames = [
            VideoReformatter().reformat(
                frame,
                format="rgb24",
                src_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.MPEG,
                dst_color_range=ColorRange.JPEG,
                interpolation=BIT_EXACT,
                threads=1,
            )
            for frame in container.decode(video=0)
        ]
    assert np.array_equal(shown(path), np.stack([frame.to_ndarray() for frame in frames]))


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le"])
def test_grey_videos(tmp_path, pix_fmt):
    path = write(tmp_path / "a.mkv", MOVING, pix_fmt=pix_fmt)
    frames = shown(path)
    assert np.abs(frames - frames[..., :1]).max() == 0
    assert (
        np.abs(frames[0, ..., 0] - np.asarray(Image.fromarray(MOVING[0]).convert("L"))).mean() < 2
    )


def test_odd_sizes_and_stretched_pixels(tmp_path):
    odd = [picture(n, width=51, height=33) for n in range(6)]

    def wide(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

    path = write(tmp_path / "a.mkv", odd, pix_fmt="yuv420p", prepare=wide)
    frames = shown(path)
    assert frames.shape == (6, 33, 51, 3)
    assert np.abs(frames[0] - odd[0]).mean() < 12
    assert len(read(record(path))) == 6


# Turned frames


@pytest.mark.parametrize(
    ("matrix", "filters"),
    [
        ((0, 1, -1, 0), ["transpose=clock"]),
        ((-1, 0, 0, -1), ["hflip", "vflip"]),
        ((0, -1, 1, 0), ["transpose=cclock"]),
        ((-1, 0, 0, 1), ["hflip"]),
        ((1, 0, 0, -1), ["vflip"]),
        ((0, 1, 1, 0), ["transpose=cclock_flip"]),
        ((0, -1, -1, 0), ["transpose=clock_flip"]),
    ],
)
def test_frames_are_rotated_as_by_ffmpeg(tmp_path, matrix, filters):
    path = write_turned(tmp_path / "a.mp4", matrix)
    plain = write_turned(tmp_path / "b.mp4", (1, 0, 0, 1))
    graph = Graph()
    nodes = [
        graph.add_buffer(
            width=64, height=48, format=av.VideoFormat("rgb24", 64, 48), time_base=Fraction(1, 25)
        )
    ]
    nodes += [graph.add(*text.split("=")) for text in filters] + [graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    graph.vpush(av.VideoFrame.from_ndarray(shown(plain)[0].astype(np.uint8), format="rgb24"))
    assert np.array_equal(shown(path)[0], graph.vpull().to_ndarray())
    seen = SourceStats()
    list(video_files.jpegs(record(path), (64, 48), LIMITS, seen, "stretch"))
    assert (seen.width, seen.height) == ((48, 64) if "transpose" in filters[0] else (64, 48))


def test_rotation_by_another_angle_is_refused(tmp_path):
    path = write_turned(tmp_path / "a.mp4", (0.7, 0.7, -0.7, 0.7))
    assert bad(record(path)).reason == "is turned by an angle that is no right angle"


def write_turned(path, matrix):
    """An MP4 whose display matrix is (a, b, c, d)."""
    write_video(path, frames=6, width=64, height=48)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4
    place = start + 4 + 20 + 16  # version 0: times, ids, layer, volume
    assert struct.unpack_from(">i", data, place)[0] == 1 << 16
    for index, value in zip((0, 1, 3, 4), matrix, strict=True):
        struct.pack_into(">i", data, place + 4 * index, round(value * 2**16))
    path.write_bytes(data)
    return path


# Rates


def fps_filter(starts, rate, time_base):
    """How often ffmpeg's own filter shows each frame."""
    graph = Graph()
    source = graph.add_buffer(
        width=2, height=2, format=av.VideoFormat("gray", 2, 2), time_base=time_base
    )
    graph.link_nodes(source, graph.add("fps", f"fps={rate}"), graph.add("buffersink")).configure()
    found = [0] * len(starts)

    def pull():
        while True:
            try:
                found[int(graph.vpull().to_ndarray()[0, 0])] += 1
            except (av.BlockingIOError, av.EOFError):
                return

    for number, start in enumerate(starts):
        frame = av.VideoFrame.from_ndarray(np.full((2, 2), number, np.uint8), format="gray")
        frame.pts, frame.time_base = start, time_base
        graph.vpush(frame)
        pull()
    graph.vpush(None)
    pull()
    return found


@settings(max_examples=150)
@given(
    gaps=st.lists(st.integers(0, 200), min_size=1, max_size=30),
    rate=st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(24), Fraction(10)]),
)
def test_variable_rates_are_made_constant_as_by_ffmpeg(gaps, rate):
    starts = [0]
    for gap in gaps:
        starts.append(starts[-1] + gap)
    times = [(n, Times(Fraction(start, 1000), None)) for n, start in enumerate(starts)]
    counts = [0] * len(starts)
    for number, count in at_constant_rate(times, rate):
        counts[number] = count
    # The filter does not know how long the last frame is shown.
    assert counts[:-1] == fps_filter(starts, rate, Fraction(1, 1000))[:-1]
    assert counts[-1] == 1


@given(st.integers(1, 200), st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(60)]))
def test_a_constant_rate_is_unchanged(frames, rate):
    for unit in (Fraction(1, 1000), Fraction(1, 90000)):
        starts = [Fraction(round(n / rate / unit)) * unit + Fraction(7, 500) for n in range(frames)]
        times = [(n, Times(start, 1 / rate)) for n, start in enumerate(starts)]
        assert list(at_constant_rate(times, rate)) == [(n, 1) for n in range(frames)]
    assert len(list(at_constant_rate([(n, Times(None, None)) for n in range(9)], rate))) == 9


def test_the_last_frame_lasts_its_declared_duration():
    def counts(duration):
        times = [(0, Times(Fraction(0), Fraction(1, 25))), (1, Times(Fraction(1, 25), duration))]
        return list(at_constant_rate(times, Fraction(25)))

    assert counts(Fraction(3, 25)) == [(0, 1), (1, 3)]
    assert counts(None) == [(0, 1), (1, 1)]
    assert counts(Fraction(1, 1000)) == [(0, 1), (1, 1)]


def test_a_video_of_variable_rate(tmp_path):
    places = [0, 1, 2, 3, 6, 7, 8, 9, 10, 15, 16, 17]
    path = write(
        tmp_path / "a.mkv", MOVING, pts=[40 * p for p in places], time_base=Fraction(1, 1000)
    )
    video = record(path)
    assert (video.fps, video.frames) == ("25/1", 18)
    frames = shown(path)
    assert len(frames) == 18
    for place, pixels in zip(places, MOVING, strict=True):
        assert np.abs(frames[place] - pixels).mean() < 3
    assert np.array_equal(frames[10], frames[14])
    own = read(video)
    assert own[10] == own[14] != own[15]


def test_a_frame_of_excessive_duration_is_refused(tmp_path):
    path = write(
        tmp_path / "a.mkv", MOVING[:6], pts=[0, 1, 2, 3, 4, 10**7], time_base=Fraction(1, 25)
    )
    video = record(path)
    assert bad(video).reason == "has 10000001 frames, more than 1000"
    assert bad(replace(video, frames=6)).reason == "has more than 1000 frames"


# Interlaced frames


def interlaced(path):
    return write(
        path,
        [picture(3 * n, width=64, height=64) for n in range(10)],
        codec="mpeg2video",
        pix_fmt="yuv420p",
        options={"flags": "+ildct+ilme", "b": "4M"},
    )


def test_interlaced_frames_are_deinterlaced(tmp_path):
    path = interlaced(tmp_path / "a.mpg")
    graph, want = None, []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert all(frame.interlaced_frame for frame in frames)
        graph = Graph()
        bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
        source = graph.add_buffer(template=stream)
        graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
        for frame in [*frames, None]:
            graph.vpush(frame)
            while True:
                try:
                    rgb = VideoReformatter().reformat(
                        graph.vpull(), format="rgb24", interpolation=BIT_EXACT, threads=1
                    )
                    want.append(rgb.to_ndarray().astype(int))
                except (av.BlockingIOError, av.EOFError):
                    break
    got = shown(path)
    assert got.shape == (10, 64, 64, 3)
    assert np.array_equal(got, np.stack(want))
    plain = [f.to_ndarray(format="rgb24").astype(int) for f in frames]
    assert np.abs(got[5] - plain[5]).max() > 20
    assert np.array_equal(got, shown(path))


# Streams


def add_cover(path, frames):
    """Sound with a large cover picture, and a small video where there are frames."""
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 400, 400, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        if frames:
            video = container.add_stream("mpeg4", rate=25)
            video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        sound = [container.add_stream("aac", rate=8000) for _ in range(2)]
        big = picture(width=400, height=400)
        container.mux(cover.encode(as_frame(big, "yuvj420p")))
        container.mux(cover.encode(None))
        if frames:
            for pixels in frames:
                container.mux(video.encode(as_frame(pixels, "yuv420p")))
            container.mux(video.encode(None))
        for stream in sound:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate = 8000
            container.mux(stream.encode(silence))
            container.mux(stream.encode(None))
    return path


def test_a_cover_picture_is_not_taken_for_the_video(tmp_path):
    path = add_cover(tmp_path / "a.mp4", MOVING)
    with av.open(str(path)) as container:
        assert {s.width for s in container.streams.video} == {400, 48}
    video = record(path)
    assert (video.frames, video.bad) == (12, "")
    assert shown(path).shape == (12, 32, 48, 3)
    assert record(add_cover(tmp_path / "song.mp4", [])).bad == "has no video stream"


@pytest.mark.parametrize(("default", "width"), [(None, 96), (0, 48)])
def test_the_default_or_largest_stream_is_read(tmp_path, default, width):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for number, size in enumerate((48, 96)):
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
            stream.disposition = av.stream.Disposition(int(default == number))
            streams.append((stream, size))
        for number in range(6):
            for stream, size in streams:
                pixels = picture(number, width=size, height=size)
                container.mux(stream.encode(as_frame(pixels, "yuv420p")))
    assert shown(path).shape == (6, width, width, 3)


def test_a_video_that_changes_its_size(tmp_path):
    parts = []
    for number, size in enumerate((64, 96)):
        path = write_video(tmp_path / f"{number}.h264", frames=6, width=size, height=size)
        parts.append(path.read_bytes())
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(parts))
    video, seen = record(path), SourceStats()
    jpegs = list(video_files.jpegs(video, (32, 32), LIMITS, seen, "stretch"))
    assert len(jpegs) == 12
    assert (seen.width, seen.height) == (64, 64)
    second = shown(tmp_path / "1.h264").astype(np.uint8)
    image = Image.fromarray(second[0]).resize((32, 32), Image.Resampling.BICUBIC)
    assert jpegs[6] == sample.encode_frame(np.asarray(image))
    # A frame may not exceed the limit although the headers declare less.
    few = replace(LIMITS, max_pixels=64 * 64)
    assert bad(video, few).reason.startswith("cannot be decoded after")


# Files that are no videos


def no_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    return path


def test_files_that_are_no_videos_are_refused(tmp_path):
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("not a video " * 100)
    sound = no_sound(tmp_path / "sound.mka")
    image = tmp_path / "image.png"
    image.write_bytes(encoded(picture(), "PNG"))
    noise = tmp_path / "noise.mkv"
    noise.write_bytes(np.random.default_rng(0).bytes(10**5))
    head = tmp_path / "head.mp4"
    head.write_bytes(write_video(tmp_path / "a.mp4").read_bytes()[:60])
    reasons = {p.stem: record(p).bad for p in (empty, text, sound, image, noise, head)}
    assert reasons == {
        "empty": "is empty",
        "text": "is not a video",
        "sound": "has no video stream",
        "image": "is not a video",
        "noise": "is not a video",
        "head": "is not a video",
    }


class Listener:
    """A server on loopback that counts connections."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.visits = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.visits += 1
            connection.close()


@pytest.fixture
def listener():
    opened = Listener()
    yield opened
    opened.socket.close()


def openers(secret, port):
    """Files that make ffmpeg open another file or address."""
    address = f"http://127.0.0.1:{port}/a.mp4"
    listed = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
    return {
        "file.m3u8": listed.format(secret),
        "beside.m3u8": listed.format(secret.name),
        "address.m3u8": listed.format(address),
        "concat.m3u8": listed.format(f"concat:{secret}"),
        "named-like-a-video.mp4": listed.format(secret),
        "list.ffconcat": f"ffconcat version 1.0\nfile '{secret}'\n",
        "list.txt": f"ffconcat version 1.0\nfile {secret.name}\n",
        "address.ffconcat": f"ffconcat version 1.0\nfile '{address}'\n",
        "dash.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4">'
        f'<Representation id="1" bandwidth="9"><BaseURL>{address}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>",
        "session.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "frame%03d.png": "",
        "text.txt": "only words\n" * 100,
        "subtitles.idx": "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n",
    }


@pytest.mark.parametrize("protections", ["all", "formats", "files", "protocols"])
def test_files_that_reference_others_are_not_followed(tmp_path, listener, monkeypatch, protections):
    """Each protection works alone, so that a failure of one opens nothing."""
    secret = write_video(tmp_path / "secret.mp4", frames=6)
    Image.fromarray(picture()).save(tmp_path / "frame001.png")
    options = dict(decoding._OPEN_OPTIONS)
    if protections != "all":
        if protections != "formats":
            del options["format_whitelist"]
        if protections != "protocols":
            del options["protocol_whitelist"]
        if protections != "files":
            monkeypatch.setattr(decoding, "_refuse", None)
        monkeypatch.setattr(decoding, "_OPEN_OPTIONS", options)
    for name, text in openers(secret, listener.port).items():
        if protections == "files" and name == "session.sdp":
            continue  # it opens no file but a port, which the other two refuse
        path = tmp_path / name
        path.write_text(text)
        video = record(path)
        assert video.bad, name
        assert bad(video).reason in {"is not a video", "is empty", "has no video stream"}, name
        with pytest.raises(BadVideoError):
            list(decoding.frames(path, 6, LIMITS))
    assert listener.visits == 0


def test_plain_pyav_does_follow_references_to_other_files(tmp_path, listener):
    """The threat of the test above is real: plain PyAV follows the references."""
    secret = write_video(tmp_path / "secret.mp4", frames=6)
    texts = openers(secret, listener.port)
    for name in ("list.ffconcat", "beside.m3u8"):
        (tmp_path / name).write_text(texts[name])
        try:
            with av.open(
                str(tmp_path / name),
                options={"safe": "0", "allowed_extensions": "ALL", "extension_picky": "0"},
            ) as container:
                assert sum(1 for _ in container.decode(video=0)) == 6
        except av.FFmpegError as e:
            raise AssertionError(name) from e
    with pytest.raises(av.FFmpegError):
        av.open(texts["address.m3u8"].splitlines()[3])
    assert listener.visits == 1


def test_a_quicktime_reference_movie_is_refused(tmp_path):
    """A QuickTime reference movie: its samples are in another file."""
    whole = write_video(tmp_path / "whole.mov", frames=6)
    data = whole.read_bytes()
    entry = data.index(b"url \x00\x00\x00\x01") - 4
    alias = mov_alias(tmp_path, "whole.mov")
    swapped = data[:entry] + alias + data[entry + 12 :]
    grown = bytearray(swapped)
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        place = grown.rindex(box, 0, entry) - 4
        size = struct.unpack_from(">I", grown, place)[0]
        struct.pack_into(">I", grown, place, size + len(alias) - 12)
    path = tmp_path / "reference.mov"
    path.write_bytes(grown)
    with av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
    video = record(path)
    assert bad(video).reason in {"gives 0 frames, but its container says 6", "is not a video"}


def mov_alias(folder, name):
    """An `alis` entry with the relative and absolute path of a file."""
    fixed = bytearray(150)
    struct.pack_into(">H", fixed, 6, 2)
    path = str(folder / name).encode()
    records = struct.pack(">HH", 2, len(name)) + name.encode() + bytes(len(name) % 2)
    records += struct.pack(">HH", 18, len(path)) + path + bytes(len(path) % 2)
    records += struct.pack(">HH", 0xFFFF, 0)
    struct.pack_into(">H", fixed, 4, len(fixed) + len(records))
    fixed[10] = 0
    struct.pack_into(">hh", fixed, 130, 1, 1)
    body = b"alis" + bytes(4) + bytes(fixed) + records
    return struct.pack(">I", len(body) + 4) + body


# Damage


def test_a_video_with_fewer_frames_than_declared_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=20)
    assert len(shown(path, 21)) == 20
    with pytest.raises(BadVideoError, match="gives 20 frames, but its container says 40"):
        shown(path, 40)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "ts", "webm"])
def test_truncated_files(tmp_path, kind):
    codec = {"webm": "libvpx-vp9"}.get(kind, "mpeg4")
    frames = [picture(n, width=64, height=64) for n in range(60)]
    options = {"movflags": "faststart"} if kind == "mp4" else {}
    path = write(
        tmp_path / f"a.{kind}", frames, codec=codec, pix_fmt="yuv420p", container_options=options
    )
    assert record(path).frames == 60
    assert len(shown(path)) == 60
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    video = record(path)
    if kind == "ts":  # a transport stream does not declare its end
        assert 20 < video.frames < 40
    else:
        assert bad(video).reason


@pytest.mark.parametrize(
    ("codec", "kind", "most"), [("libx264", "mp4", 0), ("mpeg4", "mp4", 0), ("mjpeg", "avi", 6)]
)
def test_noise_in_the_middle_is_detected(tmp_path, codec, kind, most):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    frames = [picture(n, width=128, height=96) for n in range(20)]
    path = write(tmp_path / f"a.{kind}", frames, codec=codec, pix_fmt=pix_fmt)
    clean, whole = shown(path), path.read_bytes()
    random, missed = np.random.default_rng(0), 0
    for _ in range(20):
        data = bytearray(whole)
        start = int(random.integers(len(data) // 4, len(data) * 2 // 3))
        data[start : start + 64] = random.bytes(64)
        path.write_bytes(data)
        try:
            missed += not np.array_equal(shown(path, len(clean)), clean)
        except BadVideoError:
            continue
    assert missed <= most


def test_single_flipped_bits_are_detected(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=30, width=128, height=128)
    clean, whole = shown(path), path.read_bytes()
    start, size = (
        whole.index(b"mdat") + 4,
        struct.unpack(">I", whole[whole.index(b"mdat") - 4 :][:4])[0],
    )
    random, missed = np.random.default_rng(0), 0
    for _ in range(30):
        data = bytearray(whole)
        data[start + int(random.integers(1000, size - 8))] ^= 1 << int(random.integers(8))
        path.write_bytes(data)
        try:
            missed += not np.array_equal(shown(path), clean)
        except BadVideoError:
            continue
    assert missed <= 8  # 25 where the errors of the decoder are not looked at


def test_a_packet_without_a_frame_is_detected(tmp_path):
    source = write_video(tmp_path / "a.mp4", frames=60)
    path = tmp_path / "b.mkv"
    with av.open(str(source)) as read_from, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(read_from.streams.video[0])
        for number, packet in enumerate(p for p in read_from.demux(video=0) if p.dts is not None):
            if number == 30:  # an access unit delimiter and nothing else
                empty = av.Packet(b"\x00\x00\x00\x02\x09\xf0")
                empty.pts, empty.dts, empty.time_base = packet.pts, packet.dts, packet.time_base
                packet = empty
            packet.stream = stream
            target.mux(packet)
    assert bad(record(path)).reason.startswith(("cannot be decoded after", "is damaged after"))


# Limits


def test_videos_beyond_the_limits_are_refused(tmp_path):
    video = record(write_video(tmp_path / "a.mp4", frames=20, width=64, height=64))
    assert bad(video, replace(LIMITS, max_pixels=64 * 64 - 1)).reason == (
        "has frames of more than 4095 pixels"
    )
    assert bad(video, replace(LIMITS, max_frames=19)).reason == "has 20 frames, more than 19"
    lying = replace(video, frames=10)
    assert bad(lying, replace(LIMITS, max_frames=19)).reason == "has more than 19 frames"
    assert len(read(video, limits=replace(LIMITS, max_frames=20, max_pixels=64 * 64))) == 20


@pytest.mark.parametrize(
    ("codec", "empty", "reason"),
    [
        ("libx264", b"\x00\x00\x00\x02\x09\xf0", "cannot be decoded after 0 frames"),
        # A picture marked as not coded: no frame, and no error.
        ("mpeg4", b"\x00\x00\x01\xb6\x50\x5f", "gives no frame in 1001 packets after"),
    ],
)
def test_packets_that_never_give_a_frame_are_refused(tmp_path, codec, empty, reason):
    path = tmp_path / "a.mkv"
    write(tmp_path / "a.mp4", MOVING[:3], codec=codec, pix_fmt="yuv420p")
    with av.open(str(tmp_path / "a.mp4")) as read_from, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(read_from.streams.video[0])
        for number in range(2000):
            packet = av.Packet(empty)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 25), stream
            target.mux(packet)
    video = SourceVideo("a", "train", "file", str(path), "a.mkv", 900, 9, "25/1")
    assert bad(video).reason.startswith(reason)
