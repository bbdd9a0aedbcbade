"""`inpaint` on real footage: odd files as VIDEO and MASK; ffmpeg is the reference."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from mlops import inpaint
from mlops.media import video
from mlops.tracking import names, registry
from tests import ffmpeg as judge
from tests.ffmpeg import ffmpeg, said_about
from tests.mlops import foreign

BOX = "8,8,16,16"
FILM = ("-f", "lavfi", "-i", "testsrc2=s=128x96:r=24:d=2")
H264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "2", "-g", "12")


@pytest.fixture(scope="module")
def champion(tmp_path_factory):
    """A model that fills black and works at another size than the videos."""
    folder = tmp_path_factory.mktemp("store")
    store = f"sqlite:///{folder}/mlflow.db"
    version = foreign.register(store, folder / "model", foreign.BLACK, size=(48, 32))
    registry.set_alias(store, version, names.CHAMPION)
    return store


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """48 frames of 24 fps, H.264 with B-frames."""
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    ffmpeg(*FILM, *H264, "-movflags", "+faststart", path)
    return path


def shown(path, *filters):
    """Frames as of a player that reads the chroma location; ffmpeg needs it as an option."""
    flags = "bicubic+accurate_rnd+full_chroma_int+bitexact"
    return judge.shown(path, *filters, f"scale=in_chroma_loc=left:flags={flags}", "format=rgb24")


def run(uri, *argv):
    return inpaint.main([*map(str, argv), "--tracking-uri", uri])


def lossless(uri, source, out, *flags, mask=BOX):
    """The frames of the result as a player shows them."""
    assert run(uri, source, mask, out, "--lossless", *flags) == 0
    return shown(out)


def outside(frames):
    """Frames without what was filled."""
    left = frames.astype(int).copy()
    left[:, 8:24, 8:24] = 0
    return left


def refusal(uri, capsys, tmp_path, source, *argv):
    there = set(tmp_path.rglob("*"))
    assert run(uri, source, BOX, tmp_path / "refused.mp4", *argv) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert set(tmp_path.rglob("*")) == there
    return said.strip().splitlines()[-1]


# What passes


def copied(film, path, *options):
    ffmpeg("-i", film, "-c", "copy", *options, path)
    return path


@pytest.mark.parametrize("name", ["a.flv", "a.h264", "a.mkv", "a.ts", "a.avi", "a.nut"])
def test_input_containers(champion, film, tmp_path, name):
    source = copied(film, tmp_path / name)
    after = lossless(champion, source, tmp_path / "out.mkv")
    assert len(after) == 48
    assert np.abs(outside(after) - outside(shown(film))).mean() < 2
    assert video.facts_of(tmp_path / "out.mkv").fps == 24


@pytest.mark.parametrize(("size", "rate"), [("720x576", "25"), ("720x480", "30000/1001")])
def test_dv_video(champion, tmp_path, size, rate):
    source = tmp_path / "a.dv"
    pixels = "yuv420p" if rate == "25" else "yuv411p"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d=0.4", "-pix_fmt", pixels, source)
    facts = video.facts_of(source)
    assert facts.fps == Fraction(rate)
    assert run(champion, source, BOX, tmp_path / "out.mp4") == 0
    assert float(video.facts_of(tmp_path / "out.mp4").fps) == pytest.approx(float(facts.fps))


def test_cover_art_is_not_taken_for_the_video(champion, film, tmp_path):
    cover, source = tmp_path / "cover.png", tmp_path / "a.mp4"
    # As some tools write it: the picture before the tracks.
    Image.new("RGB", (300, 300), (255, 0, 0)).save(cover)
    ffmpeg("-i", cover, "-i", film, "-map", 0, "-map", 1, "-c:v:0", "mjpeg", "-c:v:1", "copy",
           "-disposition:v:0", "attached_pic", source)  # fmt: skip
    data = source.read_bytes()
    at = data.index(b"moov") + 4
    boxes, end = {}, at - 8 + struct.unpack(">I", data[at - 8 : at - 4])[0]
    while at < end:
        size = struct.unpack(">I", data[at : at + 4])[0]
        boxes.setdefault(data[at + 4 : at + 8], data[at : at + size])
        at += size
    moved = b"".join(boxes[name] for name in (b"mvhd", b"udta", b"trak"))
    start = data.index(b"moov") + 4
    assert len(moved) == end - start
    source.write_bytes(data[:start] + moved + data[end:])
    assert "Video: mjpeg" in said_about(source).split("Stream #0:0")[1].split("Stream #")[0]
    after = lossless(champion, source, tmp_path / "out.mkv")
    assert after.shape == (48, 96, 128, 3)
    assert np.abs(outside(after) - outside(shown(film))).mean() < 2


@pytest.mark.parametrize(
    "turn", [("-display_hflip",), ("-display_rotation", 90, "-display_hflip"),
             ("-display_vflip",), ("-display_rotation", 180)]
)  # fmt: skip
def test_rotated_and_flipped_video_is_inpainted_as_displayed(champion, film, tmp_path, turn):
    source = tmp_path / "turned.mp4"
    ffmpeg(*turn, "-i", film, "-c", "copy", source)
    before = shown(source)
    after = lossless(champion, source, tmp_path / "out.mkv")
    assert after.shape == before.shape
    assert np.abs(outside(after) - outside(before)).mean() < 8  # 60 and more if turned otherwise


def test_interlaced_video_is_deinterlaced(champion, tmp_path):
    source, out = tmp_path / "a.mp4", tmp_path / "out.mp4"
    moving = "testsrc=s=128x96:r=50:d=1,format=gray,scroll=h=0.06"
    ffmpeg("-f", "lavfi", "-i", moving, "-vf", "tinterlace=interleave_top,format=yuv420p", "-flags",
           "+ildct+ilme", "-c:v", "libx264", "-x264opts", "tff=1", "-qp", 4, source)  # fmt: skip
    assert video.facts_of(source).interlaced
    combed, filled = shown(source), lossless(champion, source, out)
    player = shown(source, "bwdif=mode=send_frame")

    def combs(frames):
        rows = frames[2:-2, 32:].astype(int).mean(axis=3)
        return np.abs(rows[:, 1::2][:, :-1] - rows[:, ::2][:, 1:]).mean()

    assert combs(combed) > 5
    assert combs(filled) == pytest.approx(combs(player), rel=0.3)
    assert "progressive" in said_about(out) or "top first" not in said_about(out)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("edit.mp4", ("-ss", "0.7")),  # an edit list: 31 frames are to be shown
        (
            "wrap.ts",
            ("-output_ts_offset", "95442.8", "-muxdelay", "0"),
        ),  # 33-bit timestamps wrap around
        ("late.mkv", ("-output_ts_offset", "36000")),
    ],
)
def test_unusual_timestamps(champion, film, tmp_path, name, options):
    if name == "edit.mp4":
        ffmpeg(*options, "-i", film, "-c", "copy", tmp_path / name)
    else:
        copied(film, tmp_path / name, *options)
    before = shown(tmp_path / name)
    after = lossless(champion, tmp_path / name, tmp_path / "out.mkv")
    assert len(after) == len(before)
    assert len(after) == (31 if name == "edit.mp4" else 48)
    assert np.abs(outside(after) - outside(before)).mean() < 2


@pytest.mark.parametrize("size", ["2x2", "16x2", "64x64"])
def test_tiny_frames(champion, tmp_path, size):
    source = tmp_path / "a.mkv"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=0.2", "-c:v", "ffv1", source)
    after = lossless(champion, source, tmp_path / "out.mkv", mask="0,0,1,1")
    before = shown(source)
    assert after.shape == before.shape
    assert (
        after[:, 0, 0] < 3
    ).all() or size != "64x64"  # in smaller frames the fill is not pure black


def test_one_frame_with_an_empty_mask_is_unchanged(champion, tmp_path):
    source, mask = tmp_path / "a.mkv", tmp_path / "mask.png"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=48x32:r=25:d=0.04", "-pix_fmt", "bgr0", "-c:v", "ffv1",
           source)  # fmt: skip
    Image.new("L", (48, 32)).save(mask)
    after = lossless(champion, source, tmp_path / "out.mkv", mask=mask)
    assert np.array_equal(after, shown(source))
    assert len(after) == 1


# What is refused


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "flv"])
def test_a_truncated_video_is_refused(champion, film, tmp_path, capsys, kind):
    whole = copied(film, tmp_path / f"a.{kind}", *(("-movflags", "+faststart") * (kind == "mp4")))
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(data[: int(len(data) * 0.6)])
    said = refusal(champion, capsys, tmp_path, cut)
    assert f"cut.{kind} " in said
    assert "frames" in said
    assert "mend it first" in said


@pytest.mark.parametrize("kind", ["mp4", "flv", "ts"])
def test_a_video_damaged_in_the_middle_is_refused(champion, film, tmp_path, capsys, kind):
    whole = copied(film, tmp_path / f"a.{kind}")
    data = bytearray(whole.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    (tmp_path / f"bad.{kind}").write_bytes(data)
    said = refusal(champion, capsys, tmp_path, tmp_path / f"bad.{kind}")
    assert " frames" in said
    assert "after 1" in said or "after 2" in said  # about the middle of 48


def test_a_changing_frame_size_is_refused_before_the_work(film, tmp_path, capsys):
    ffmpeg("-i", film, "-c", "copy", tmp_path / "a.h264")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x96:r=24:d=1", *H264, tmp_path / "b.h264")
    path = tmp_path / "both.h264"
    path.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    said = refusal("sqlite:////nowhere/at/all.db", capsys, tmp_path, path)
    assert "both.h264 changes its size from 128x96 to 64x96 after 48 frames" in said


def test_files_that_reference_others_are_refused(champion, film, tmp_path, capsys):
    ffmpeg("-i", film, "-c", "copy", tmp_path / "part.ts")
    Image.new("RGB", (64, 64)).save(tmp_path / "f1.png")
    texts = {
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\npart.ts\n#EXT-X-ENDLIST\n",
        "list.ffconcat": "ffconcat version 1.0\nfile part.ts\n",
        "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 9999 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert f"{name} is not a video" in refusal(champion, capsys, tmp_path, tmp_path / name)
    assert "f1.png is not a video" in refusal(champion, capsys, tmp_path, tmp_path / "f1.png")
    for pattern in ("f%d.png", "f*.png", "concat:part.ts"):
        assert "is not there" in refusal(champion, capsys, tmp_path, tmp_path / pattern)


# Folders of pictures


def pictures(folder, numbers, colour, *, junk=True, suffix="png"):
    folder.mkdir()
    for number in numbers:
        Image.new("RGB", (32, 32), colour(number)).save(folder / f"{number}.{suffix}")
    if junk:
        for name in ("._1.png", ".DS_Store", "Thumbs.db", "README.txt"):
            (folder / name).write_bytes(b"junk")
    return folder


def test_pictures_and_masks_are_in_natural_order(champion, tmp_path):
    """Of 1.png … 12.png those with even numbers are masked completely."""
    frames = pictures(tmp_path / "frames", range(1, 13), lambda n: (20 * n, 200, 100))
    masks = pictures(tmp_path / "masks", range(1, 13), lambda n: (255 * (n % 2 == 0),) * 3)
    assert run(champion, frames, masks, tmp_path / "out") == 0
    found = np.stack(list(video.read(tmp_path / "out")))[:, 16, 16]
    assert found.tolist() == [[0] * 3 if n % 2 == 0 else [20 * n, 200, 100] for n in range(1, 13)]


def test_gaps_and_offsets_of_frame_numbers_are_reported(champion, tmp_path, capsys):
    frames = pictures(tmp_path / "f", [n for n in range(1, 13) if n != 7], lambda n: (0, n, 0))
    masks = pictures(tmp_path / "m", range(11), lambda _: (0, 0, 0))
    assert run(champion, frames, masks, tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"VIDEO {frames}: frames 1 to 12, 7 is missing" in lines
    assert "frames 1 to 12, 7 is missing of VIDEO go in order with 0 to 10 of MASK" in lines


def test_two_pictures_with_the_same_name_are_refused(champion, tmp_path, capsys):
    frames = pictures(tmp_path / "f", range(3), lambda _: (9, 9, 9))
    Image.new("RGB", (32, 32)).save(frames / "1.jpg")
    said = refusal(champion, capsys, tmp_path, frames)
    assert "has two pictures of one name: 1.jpg and 1.png" in said


def test_pictures_are_rotated_by_exif_and_scaled_to_8_bits(champion, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = np.zeros((24, 48, 3), np.uint8)
    wide[:, :24] = 250
    Image.fromarray(wide).save(frames / "1.png", exif=exif)
    Image.fromarray(np.full((48, 24), 128 * 257, np.uint16)).save(frames / "2.png")
    assert run(champion, frames, "0,0,1,1", tmp_path / "out") == 0
    turned, deep = video.read(tmp_path / "out")
    assert turned.shape == (48, 24, 3)
    assert (turned[2:20].mean(), turned[30:].mean()) == (250, 0)
    assert (deep[10:] == 128).all()
