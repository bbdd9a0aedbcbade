"""Properties of a film besides its pixels: the result keeps them, or a line names what was dropped.

ffmpeg is the reference: what it prints and decodes of the source, and of the result.
"""

import re
import subprocess
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from mlops import burn_in, inpaint
from mlops.media import video
from mlops.media.encoders import Encoding
from mlops.media.encoding import VideoWriter
from mlops.tracking import connection, names, registry
from tests.faults.processes import finish, start_command
from tests.ffmpeg import FFMPEG, ffmpeg, said_about, shown
from tests.mlops import foreign

CORNER = "0,0,8,8"
SMOOTH = "gradients=d=0.4:s={size}:r=25:seed=1:c0=0xb07050:c1=0x50a080:c2=0x7060c0:n=3:speed=0.02"
SOUND = ("-f", "lavfi", "-i", "sine=f=440:d=0.4:r=48000")
PQ = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
MASTERING = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
TEXTS = (
    "1\n00:00:00,040 --> 00:00:00,160\nHello <i>you</i>\n\n2\n00:00:00,200 --> 00:00:00,320\nBye\n"
)
ABOUT = """;FFMETADATA1
title=The film
artist=Somebody
ours=said
[CHAPTER]
TIMEBASE=1/1000
START=0
END=200
title=One
[CHAPTER]
TIMEBASE=1/1000
START=200
END=400
title=Two
"""


@pytest.fixture(scope="module")
def keeper(empty_database, tmp_path_factory):
    """A tracking store with a model that leaves every frame as it is."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    uri = f"sqlite:///{folder}/mlflow.db"
    connection.local_store_ready(uri)
    registry.set_alias(uri, foreign.register(uri, folder / "model", "pass"), names.CHAMPION)
    return uri


@pytest.fixture
def through(keeper, monkeypatch, capsys):
    """Inpaint a corner of a film; returns the line that names what was not kept."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")

    def run(source, out, *flags, code=0):
        words = [source, CORNER, out, "--tracking-uri", keeper, *flags]
        found = inpaint.main([*map(str, words)])
        said = capsys.readouterr()
        assert found == code, said.err
        if code:
            return said.err
        lost = [line for line in said.out.splitlines() if line.startswith("not kept: ")]
        assert len(lost) <= 1
        return (lost or [""])[0]

    return run


def film(path, *flags, size="96x64", inputs=()):
    """A few smooth frames, written by ffmpeg."""
    ffmpeg("-f", "lavfi", "-i", SMOOTH.format(size=size), *inputs, *flags, path)
    return path


def video_of(path):
    """ffmpeg's line about the first stream of frames."""
    return next(line for line in said_about(path).splitlines() if ": Video: " in line)


def side_data(path):
    """What ffmpeg prints about the first frame and its colours."""
    argv = [
        FFMPEG,
        "-hide_banner",
        "-i",
        path,
        "-vf",
        "showinfo",
        "-frames:v",
        "1",
        "-f",
        "null",
        "-",
    ]
    return subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=60).stderr


def far(one, other):
    """Mean difference of two films in levels of 255."""
    return np.abs(one.astype(int) - other).mean()


@pytest.mark.parametrize(
    ("name", "flags", "lost"),
    [
        ("out.mp4", (), ""),
        ("out.mkv", (), ""),
        ("out.mov", ("--codec", "hevc"), ""),
        ("out.mp4", ("--codec", "vp9"), ""),
        ("out.mp4", ("--codec", "av1"), ""),
        ("out.mkv", ("--lossless",), ""),
        ("out.webm", ("--codec", "vp9"), "pixel aspect 16:11 (OUT as .mp4 keeps it)"),
        ("png", (), "pixel aspect 16:11"),
    ],
)
def test_pixel_aspect_ratio(through, tmp_path, name, flags, lost):
    source = film(tmp_path / "in.mp4", "-vf", "setsar=16/11", "-pix_fmt", "yuv420p")
    assert lost in through(source, tmp_path / name, *flags)
    if not lost:
        assert "SAR 16:11" in video_of(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "flags", "stored", "lost"),
    [
        ("out.mp4", (), "yuv420p10le", ""),
        ("out.mp4", ("--codec", "hevc"), "yuv420p10le", ""),
        ("out.mkv", ("--codec", "av1"), "yuv420p10le", ""),
        ("out.mkv", ("--lossless",), "gbrp16le", ""),
        ("png/00000.png", (), "rgb48be", ""),
        ("out.webm", ("--codec", "vp9"), "yuv420p(", "not kept: 10 bits (8 are written)"),
        ("out.mov", ("--lossless",), "gbrp(", "not kept: 10 bits (8 are written)"),
    ],
)
def test_ten_bits_are_kept_or_named(through, tmp_path, name, flags, stored, lost):
    source = film(tmp_path / "in.mkv", "-c:v", "libx265", "-pix_fmt", "yuv420p10le")
    out = tmp_path / name if "/" not in name else tmp_path / "png"
    assert through(source, out, *flags) == lost
    assert stored in video_of(tmp_path / name)


def _deep(path):
    """The first frame as ffmpeg shows it in 16 bits."""
    flags = "bicubic+accurate_rnd+full_chroma_int+bitexact"
    argv = [FFMPEG, "-v", "error", "-i", path, "-frames:v", "1", "-f", "rawvideo"]
    argv += ["-sws_flags", flags, "-pix_fmt", "rgb48le", "-"]
    done = subprocess.run([*map(str, argv)], capture_output=True, timeout=60)
    return np.frombuffer(done.stdout, np.uint16).reshape(64, 96, 3).astype(int)


@pytest.mark.parametrize("blend_width", [0, 4])
@pytest.mark.parametrize("out", ["out.mkv", "png"])
def test_known_pixels_keep_their_bit_depth(through, tmp_path, out, blend_width):
    fine = "format=gbrp10le,gblur=3"
    source = film(tmp_path / "in.mkv", "-vf", fine, "-c:v", "ffv1", "-pix_fmt", "gbrp10le")
    through(source, tmp_path / out, "--lossless", "--blend-width", blend_width)
    before = _deep(source)
    after = _deep(tmp_path / out if out != "png" else tmp_path / "png" / "00000.png")
    off = np.abs(before - after)
    off[:8, :8] = 0  # filled, in 8 bits
    # Blended half and half at the feathered edge.
    assert off[: 8 + blend_width, : 8 + blend_width].max() <= 129
    off[: 8 + blend_width, : 8 + blend_width] = 0
    assert off.max() <= 1
    assert len(np.unique(after // 64)) > len(np.unique(after // 256))  # levels of 10, and of 8 bits


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_high_dynamic_range_metadata_is_kept(through, tmp_path, codec):
    params = f"log-level=none:{MASTERING}:max-cll=1000,400"
    source = film(tmp_path / "in.mp4", "-vf", PQ, "-c:v", "libx265", "-pix_fmt", "yuv420p10le",
                  "-x265-params", params)  # fmt: skip
    assert through(source, tmp_path / "out.mp4", "--codec", codec) == ""
    assert "yuv420p10le(tv, bt2020nc/bt2020/smpte2084" in video_of(tmp_path / "out.mp4")
    said = side_data(tmp_path / "out.mp4")
    assert "r(0.6800,0.3200) g(0.2650,0.6900) b(0.1500 0.0600) wp(0.3127, 0.3290)" in said
    assert "max_luminance=1000.0" in said
    assert "MaxCLL=1000, MaxFALL=400" in said
    assert far(shown(source), shown(tmp_path / "out.mp4")) < 3
    assert through(source, tmp_path / "beside.mp4", "--compare", tmp_path / "compared.mp4") == ""
    assert "yuv420p10le(tv, bt2020nc/bt2020/smpte2084" in video_of(tmp_path / "compared.mp4")


def test_high_dynamic_range_in_pictures(through, tmp_path):
    source = film(tmp_path / "in.mkv", "-vf", PQ, "-c:v", "libx265", "-pix_fmt", "yuv420p10le")
    assert through(source, tmp_path / "png") == ""
    assert "rgb48be(pc, gbr/bt2020/smpte2084" in video_of(tmp_path / "png" / "00000.png")


def test_high_dynamic_range_is_never_written_in_8_bits(through, tmp_path, capsys):
    hlg = PQ.replace("smpte2084", "arib-std-b67")
    for light, params in (("PQ", PQ), ("HLG", hlg)):
        source = film(
            tmp_path / "in.mkv", "-vf", params, "-c:v", "libx265", "-pix_fmt", "yuv420p10le"
        )
        error = through(source, tmp_path / "out.webm", "--codec", "vp9", code=2)
        assert f"VIDEO is HDR ({light}, 10 bits), and --codec vp9 has 8 bits: give --codec" in error
        error = through(source, tmp_path / "out.mp4", "--lossless", code=2)
        assert "and --lossless in .mp4 has 8 bits: give OUT as .mkv or as a folder" in error
        assert burn_in.main([str(source), str(tmp_path / "out.mp4"), str(tmp_path / "m")]) == 2
        assert f"VIDEO is HDR ({light}, 10 bits)" in capsys.readouterr().err
    assert burn_in.main([str(source), str(tmp_path / "out.mkv"), str(tmp_path / "m.mp4")]) == 0
    assert "gbrp16le(pc, unknown/bt2020/arib-std-b67" in video_of(tmp_path / "out.mkv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "m.mp4", "out.mkv"]


@pytest.mark.parametrize(
    ("size", "tags"), [("96x64", "smpte170m/bt709/"), ("1280x720", "bt709/bt709/")]
)
def test_rgb_output_is_tagged_with_its_colour_space(through, tmp_path, size, tags):
    """A player that guessed the matrix wrongly would be 22 levels off."""
    source = film(
        tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", "bgr0", "-frames:v", 2, size=size
    )
    lost = through(source, tmp_path / "out.mp4", "--crf", 4)
    assert lost == "not kept: RGB colour (4:2:0 is written: --lossless keeps it)"
    assert f"yuv420p(tv, {tags}iec61966-2-1" in video_of(tmp_path / "out.mp4")
    assert far(shown(source), shown(tmp_path / "out.mp4")) < 3


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_untagged_colours_look_the_same_with_either_matrix(through, tmp_path, matrix):
    source = film(tmp_path / "in.mp4", "-pix_fmt", "yuv420p", "-frames:v", 2, size="1280x720")
    through(source, tmp_path / "out.mp4", "--crf", 4)
    both = (shown(one, f"scale=in_color_matrix={matrix}") for one in (source, tmp_path / "out.mp4"))
    assert far(*both) < 2


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_full_range_colour_is_kept(through, tmp_path, codec):
    source = film(
        tmp_path / "in.mkv", "-vf", "scale=out_range=pc:out_color_matrix=bt709,setparams="
        "range=pc:color_primaries=bt709:color_trc=bt709:colorspace=bt709", "-pix_fmt", "yuv420p",
    )  # fmt: skip
    through(source, tmp_path / "out.mp4", "--codec", codec, "--crf", 4)
    assert "(pc, bt709" in video_of(source)
    assert "(pc, bt709" in video_of(tmp_path / "out.mp4")
    assert far(shown(source), shown(tmp_path / "out.mp4")) < 3


@pytest.mark.parametrize(
    ("flags", "suffix", "lost"),
    [
        (("-c:v", "qtrle", "-pix_fmt", "argb"), ".mov",
         "alpha, RGB colour (4:2:0 is written: --lossless keeps it)"),
        (("-pix_fmt", "yuv444p"), ".mp4", "4:4:4 colour (4:2:0 is written: --lossless keeps it)"),
        (("-pix_fmt", "yuv422p"), ".mp4", "4:2:2 colour (4:2:0 is written: --lossless keeps it)"),
        (("-vf", "interlace", "-c:v", "mpeg2video", "-flags", "+ildct+ilme"), ".mpg",
         "fields (they were made whole frames)"),
        (("-pix_fmt", "yuv420p12le", "-c:v", "libx265"), ".mkv", "12 bits (10 are written)"),
        (("-pix_fmt", "yuv420p"), ".mp4", ""),
        (("-c:v", "ffv1", "-pix_fmt", "gray"), ".mkv", ""),
    ],
)  # fmt: skip
def test_properties_that_are_dropped_are_named(through, tmp_path, flags, suffix, lost):
    source = film(tmp_path / f"in{suffix}", *flags)
    assert through(source, tmp_path / "out.mp4") == (f"not kept: {lost}" if lost else "")
    if "4:2:0" in lost:
        assert "4:2:0" not in through(source, tmp_path / "out.mkv", "--lossless")


@pytest.mark.parametrize(("suffix", "tag"), [(".mp4", "hvc1"), (".mov", "hvc1")])
def test_hevc_has_the_codec_tag_that_all_players_accept(through, tmp_path, suffix, tag):
    source = film(tmp_path / "in.mp4", "-pix_fmt", "yuv420p")
    through(source, tmp_path / f"out{suffix}", "--codec", "hevc")
    assert f"({tag} /" in video_of(tmp_path / f"out{suffix}")


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A film with every kind of track and metadata besides its frames."""
    folder = tmp_path_factory.mktemp("rich")
    (folder / "texts.srt").write_text(TEXTS)
    (folder / "about.txt").write_text(ABOUT)
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=32x32", "-frames:v", 1, folder / "cover.jpg")
    return film(
        folder / "in.mkv", "-map", "0:v", "-map", "1:a", "-map", "2:s", "-map", "2:s",
        "-map_metadata", 3, "-map_chapters", 3, "-pix_fmt", "yuv420p", "-c:a", "libmp3lame",
        "-c:s:0", "srt", "-c:s:1", "ass", "-metadata:s:a:0", "language=jpn",
        "-metadata:s:a:0", "title=Comments", "-disposition:a:0", "default+comment",
        "-metadata:s:s:0", "language=eng", "-disposition:s:0", "forced",
        "-metadata:s:s:1", "language=ger", "-attach", font,
        "-metadata:s:t:0", "mimetype=application/x-truetype-font",
        "-attach", folder / "cover.jpg", "-metadata:s:t:1", "mimetype=image/jpeg",
        inputs=(*SOUND, "-i", folder / "texts.srt", "-i", folder / "about.txt"),
    )  # fmt: skip


def _texts(path):
    """The first subtitles of a film as a player shows them."""
    argv = [FFMPEG, "-v", "error", "-i", path, "-map", "0:s:0", "-f", "srt", "-"]
    return subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_tracks_metadata_and_chapters_are_kept(through, tmp_path, rich, suffix):
    out = tmp_path / f"out{suffix}"
    lost = through(rich, out)
    said = said_about(out)
    for part in (
        r"title +: The film", r"(artist|ARTIST) +: Somebody", r"Chapter #0:0: start 0.0+, end 0.2",
        r"title +: One", r"Chapter #0:1: start 0.2", r"title +: Two",
        r"\(jpn\): Audio: mp3.*\(default\)", r"(title|name) +: Comments",
        r"\(eng\): Subtitle: ",
    ):  # fmt: skip
        assert re.search(part, said), (part, said)
    expected = TEXTS.strip() if suffix == ".mkv" else re.sub("</?i>", "", TEXTS).strip()
    shown_texts = re.sub("<[^>]*>", "", _texts(out)) if suffix != ".mkv" else _texts(out)
    assert shown_texts.strip().splitlines() == expected.splitlines()
    assert bool(re.search(r"mjpeg.*32x32.*\(attached pic\)", said)) == (suffix != ".mov")
    if suffix == ".mkv":
        assert lost == ""
        for part in (r"\(eng\): Subtitle: subrip.*\(forced\)", r"\(ger\): Subtitle: ass",
                     r"Attachment: ttf", r"filename +: DejaVuSans.ttf", r"OURS +: said",
                     r"Audio: mp3.*\(comment\)"):  # fmt: skip
            assert re.search(part, said), (part, said)
    else:
        cover = "1 cover picture, " if suffix == ".mov" else ""
        no = f"1 subtitle track ({suffix} does not take ass: OUT as .mkv keeps it)"
        assert lost == f"not kept: {no}, 1 attached file, {cover}metadata (OURS)"
        assert not re.search('size="0"|#000000', _texts(out))  # shown, and not black on black


def test_mp4_tracks_survive_matroska_and_back(through, tmp_path, rich):
    through(rich, tmp_path / "one.mp4")
    assert through(tmp_path / "one.mp4", tmp_path / "two.mkv") == ""
    assert through(tmp_path / "two.mkv", tmp_path / "three.mp4") == ""
    for path in (tmp_path / "two.mkv", tmp_path / "three.mp4"):
        said = said_about(path)
        for part in (r"title +: The film", r"title +: Two", r"(title|name) +: Comments",
                     r"\(eng\): Subtitle: (subrip|mov_text)", r"\(attached pic\)"):  # fmt: skip
            assert re.search(part, said), (part, said)
        assert "Bye" in _texts(path)


def test_image_folder_output_names_everything_dropped(through, tmp_path, rich):
    lost = "not kept: 2 subtitle tracks, 1 attached file, 1 cover picture, chapters, metadata"
    assert through(rich, tmp_path / "png") == lost


def test_extra_video_and_data_tracks_are_named(through, tmp_path):
    second = ("-f", "lavfi", "-i", "testsrc=d=0.4:s=32x32:r=25")
    source = film(
        tmp_path / "in.mkv", "-map", "0:v", "-map", "1:v", "-pix_fmt", "yuv420p", inputs=second
    )
    assert through(source, tmp_path / "out.mp4") == "not kept: 1 more video track"


def test_matroska_alpha_and_stereo_side_data(through, tmp_path):
    alpha = film(tmp_path / "in.webm", "-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p")
    assert through(alpha, tmp_path / "out.webm", "--codec", "vp9") == "not kept: alpha"
    assert "alpha_mode" not in said_about(tmp_path / "out.webm")  # nothing claims to have any
    stereo = ("-metadata:s:v", "stereo_mode=left_right")
    both = film(tmp_path / "in.mkv", "-pix_fmt", "yuv420p", *stereo)
    assert through(both, tmp_path / "out.mkv") == ""
    assert "Stereo 3D: side by side" in said_about(tmp_path / "out.mkv")
    assert through(both, tmp_path / "out.mp4") == "not kept: stereo 3D"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_chapters_outside_the_film_are_dropped_and_named(through, tmp_path, suffix):
    (tmp_path / "about.txt").write_text(ABOUT)
    chapters = ("-i", tmp_path / "about.txt")
    source = film(tmp_path / "in.mkv", "-map", "0:v", "-map_chapters", 1, "-map_metadata", -1,
                  "-pix_fmt", "yuv420p", "-output_ts_offset", 3600, inputs=chapters)  # fmt: skip
    lost = through(source, tmp_path / f"out{suffix}")
    assert lost == "not kept: 2 chapters (outside of the film)"
    assert "Chapter" not in said_about(tmp_path / f"out{suffix}")


def test_audio_that_matroska_cannot_hold(through, tmp_path):
    """The message for an .mkv output does not suggest .mkv."""
    source = film(tmp_path / "in.wmv", inputs=SOUND)
    error = through(source, tmp_path / "out.mkv", code=2)
    assert error.rstrip().endswith("which .mkv does not take: give --no-audio")
    error = through(source, tmp_path / "out.mp4", code=2)
    assert error.rstrip().endswith("which .mp4 does not take: give --no-audio")
    through(source, tmp_path / "out.mkv", "--no-audio")


def test_container_limits_are_refused_before_the_model_runs(through, tmp_path, monkeypatch):
    """Refused before the model runs, not by a traceback afterwards."""
    monkeypatch.setattr("mlops.inpainting.pipeline.filled", None)
    flags = ("-pix_fmt", "yuv420p", "-c:a", "truehd", "-strict", -2)
    source = film(tmp_path / "in.mkv", *flags, inputs=SOUND)
    error = through(source, tmp_path / "out.mp4", code=2)
    assert "cannot hold 96x64 by libx264, or a track of " in error
    assert error.rstrip().endswith("give OUT as .mkv, another --codec, or --no-audio")
    small = film(tmp_path / "small.mkv", "-c:v", "ffv1", size="8x8")
    error = through(small, tmp_path / "out.mp4", "--codec", "hevc", code=2)
    assert "cannot hold 8x8 by libx265" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "small.mkv"]


@pytest.mark.parametrize("frames", [1, 2])
def test_hevc_with_one_or_two_frames(tmp_path, frames):
    """x265 gives them uninitialised timestamps: every third such file could not be written."""
    source = film(tmp_path / "in.mp4", "-pix_fmt", "yuv420p", "-frames:v", frames)
    facts = video.facts_of(source)
    for number in range(12):
        with VideoWriter(tmp_path / f"{number}.mp4", facts, Encoding(codec="hevc")) as writer:
            for timed in video.read_timed(source):
                writer.write(timed)
        assert len(shown(tmp_path / f"{number}.mp4")) == frames


def test_a_timecode_is_kept(through, tmp_path):
    source = film(tmp_path / "in.mov", "-pix_fmt", "yuv420p", "-timecode", "01:00:00:00")
    assert through(source, tmp_path / "out.mov") == ""
    assert "tmcd" in said_about(tmp_path / "out.mov")
    assert re.search(r"timecode +: 01:00:00:00", said_about(tmp_path / "out.mov"))


def _times(path):
    """Seconds at which ffmpeg shows each frame, and the first sound."""
    found = []
    for filters in (("-vf", "showinfo", "-an"), ("-af", "ashowinfo", "-vn")):
        argv = [FFMPEG, "-hide_banner", "-copyts", "-i", path, *filters, "-fps_mode", "passthrough",
                "-f", "null", "-"]  # fmt: skip
        done = subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=60)
        found.append([float(one) for one in re.findall(r"pts_time:([-\d.]+)", done.stderr)])
    frames, sounds = found
    return np.array(frames), sounds[0] if sounds else None


@pytest.mark.parametrize(
    ("name", "flags", "late"),
    [
        ("in.ts", ("-c:a", "mp2", "-output_ts_offset", 36000), None),
        ("in.mkv", ("-c:a", "flac", "-output_ts_offset", 36000), 0),
        # ffmpeg itself shows these late, by the number of reordered frames.
        ("in.avi", ("-c:v", "libx264", "-bf", 2, "-c:a", "mp2"), 0),
        ("in.avi", ("-c:v", "mpeg4", "-bf", 2, "-c:a", "mp2"), 0),
        ("in.flv", ("-c:v", "libx264", "-c:a", "libmp3lame", "-ar", 44100), None),
        ("in.mkv", ("-c:a", "flac", "-vf", "setpts=PTS+0.48/TB"), 0.48),
        ("in.mkv", ("-c:a", "flac", "-af", "asetpts=PTS+0.5/TB"), -0.5),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_output_starts_at_zero_with_audio_in_sync(through, tmp_path, name, flags, late, suffix):
    """`late`: seconds by which the frames start after the audio; None = as in the source."""
    source = film(tmp_path / name, "-pix_fmt", "yuv420p", *flags, inputs=SOUND)
    out = tmp_path / f"out{suffix}"
    through(source, out)
    (before, heard_before), (after, heard) = _times(source), _times(out)
    expected = before[0] - heard_before if late is None else late
    # Players skip audio priming samples at the start.
    assert min(after[0], heard) == pytest.approx(0, abs=0.03)
    assert np.diff(after) == pytest.approx(np.diff(before), abs=2e-3)
    assert after[0] - heard == pytest.approx(expected, abs=2e-3)
    assert float(re.search(r"Duration: 00:00:(\d+.\d+)", said_about(out))[1]) < 1.2


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_audio_packets_shorter_than_a_matroska_tick(through, tmp_path, suffix):
    """Two of them get the same timestamp, which some readers take for a step back."""
    flags = ("-pix_fmt", "yuv420p", "-c:a", "pcm_s16le", "-af", "asetnsamples=n=24")
    source = film(tmp_path / "in.mkv", *flags, inputs=SOUND)
    through(source, tmp_path / f"out{suffix}")
    heard = []
    for path in (source, tmp_path / f"out{suffix}"):
        argv = [FFMPEG, "-v", "error", "-i", path, "-map", "0:a", "-f", "s16le", "-"]
        heard.append(subprocess.run([*map(str, argv)], capture_output=True, timeout=60).stdout)
    assert len(heard[0]) > 30000
    assert heard[0] == heard[1]


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_encoders_print_nothing(keeper, tmp_path, codec):
    source = film(tmp_path / "in.mp4", "-pix_fmt", "yuv420p")
    argv = [source, CORNER, tmp_path / "out.mkv", "--codec", codec, "--tracking-uri", keeper]
    done = finish(start_command("mlops/inpaint.py", *argv))
    assert done[0] == 0, done[2]
    assert all(line.startswith("inpaint in.mp4") for line in done[2].splitlines()), done[2]
