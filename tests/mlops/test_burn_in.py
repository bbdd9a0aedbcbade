import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import matplotlib
import numpy as np
import pytest
from PIL import ImageFont

from mlops import burn_in, inpaint
from mlops.media import overlays, video
from mlops.media.mask_reading import masks_for
from tests.mlops import foreign
from tests.mlops.test_video import pts_of, sound_of, with_sound
from tests.tiny import write_video

SIZES = [(96, 64), (64, 96), (176, 144), (1280, 720)]  # width, height
TELEA = """import cv2
        for frame, hole in zip(frames, holes):
            frame[:] = cv2.inpaint(frame, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)"""
WIDE_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def _run(*argv):
    return burn_in.main([*map(str, argv)])


def _frames(path):
    return np.stack(list(video.read(path)))


def _components(mask):
    """Boxes (left, top, width, height) of connected components, and the hole share of each."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    return [(tuple(map(int, s[:4])), s[4] / (s[2] * s[3])) for s in stats[1:count]]


@pytest.mark.parametrize(("width", "height"), [(96, 64), (97, 65)])
@pytest.mark.parametrize(
    ("out", "masks"), [("out.mp4", "masks.mkv"), ("out", "masks.mp4"), ("out.mkv", "masks")]
)
def test_pixels_outside_the_masks_are_unchanged(tmp_path, width, height, out, masks):
    source = write_video(tmp_path / "in.mp4", frames=7, width=96, height=64)
    if width % 2:  # H.264 in 4:2:0 has no odd sizes: as a folder of pictures
        frames, source = _frames(source), tmp_path / "odd"
        source.mkdir()
        for number, frame in enumerate(frames):
            cv2.imwrite(str(source / f"{number}.png"), cv2.resize(frame, (width, height)))
    argv = (tmp_path / out, tmp_path / masks, "--logo", "--frames-per-text", 2, "--fps", 25)
    assert _run(source, *argv) == 0
    before, after, white = map(_frames, (source, tmp_path / out, tmp_path / masks))
    assert before.shape == after.shape == white.shape == (7, height, width, 3)
    assert set(np.unique(white)) == {0, 255}
    changed, hole = (before != after).any(axis=3), white[..., 0] == 255
    assert not (changed & ~hole).any()
    assert all((changed & hole).sum(axis=(1, 2)) > 100)
    # As `inpaint` takes it.
    facts = video.facts_of(tmp_path / out, Fraction(25))
    assert np.array_equal(np.stack(list(masks_for(str(tmp_path / masks), facts).each)), hole)


def test_burn_in_is_deterministic_and_reports_its_outputs(tmp_path, capsys):
    source = write_video(tmp_path / "in.mp4", frames=5, width=96, height=64)
    written = []
    for name in ("a", "b"):
        out, masks = tmp_path / f"{name}.mp4", tmp_path / f"{name}.mkv"
        assert _run(source, out, masks, "--logo", "--json") == 0
        written.append((out.read_bytes(), _frames(masks).tobytes()))
    assert written[0] == written[1]
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    share = (_frames(masks)[..., 0] == 255).mean()
    assert printed == {
        "out": str(out),
        "masks": str(masks),
        "frames": 5,
        "fps": "25",
        "hole_share": pytest.approx(share),
    }


def test_texts_are_cycled(tmp_path):
    source = write_video(tmp_path / "in.mp4", frames=8, width=176, height=144)
    texts = ("--subtitle", "Yes.", "Not in this house, I am afraid.")
    assert _run(source, tmp_path / "out.mkv", tmp_path / "masks", *texts,
                "--frames-per-text", "3") == 0  # fmt: skip
    widths = [_components(mask[..., 0])[0][0][2] for mask in _frames(tmp_path / "masks")]
    short, long = widths[0], widths[3]
    assert widths == [short] * 3 + [long] * 3 + [short] * 2
    assert long > 3 * short


@pytest.mark.parametrize(
    ("flags", "above", "below"),
    [((), False, True), (("--logo",), True, True), (("--logo", "--subtitle"), True, False)],
)
def test_subtitles_a_logo_or_both_are_burnt_in(tmp_path, flags, above, below):
    source = write_video(tmp_path / "in.mp4", frames=2, width=176, height=144)
    assert _run(source, tmp_path / "out.mkv", tmp_path / "masks", *flags) == 0
    for mask in _frames(tmp_path / "masks"):
        assert (mask[:72].any(), mask[72:].any()) == (above, below)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_subtitle_is_white_on_black_at_the_bottom_in_a_box(width, height):
    frame = np.full((height, width, 3), (40, 90, 140), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    before = frame.copy()
    overlays.subtitle("Not now.", width, height, ImageFont.load_default).lay(frame, mask)
    (((left, top, wide, high), share),) = _components(mask)
    assert share == 1  # a box
    assert top > height / 2
    assert top + high < height
    assert abs(left + wide / 2 - width / 2) < 2
    assert high < 0.25 * height
    changed = (frame != before).any(axis=2)
    rows, columns = np.nonzero(changed)
    grown = overlays.grown_px(width, height)
    assert (rows.min() - top, top + high - 1 - rows.max()) == (grown, grown)
    assert (columns.min() - left, left + wide - 1 - columns.max()) == (grown, grown)
    assert frame[changed].max() > 235
    assert frame[changed].min() < 10


def test_font_size_scales_with_the_frame():
    heights = []
    for width, height in ((1280, 720), (1920, 1080), (3840, 2160)):
        made = overlays.subtitle("Home again", width, height, ImageFont.load_default)
        heights.append(made.hole.shape[0] / height)
    assert max(heights) - min(heights) < 0.003
    assert 0.05 < heights[0] < 0.09


def test_long_text_wraps_to_two_lines_then_shrinks():
    def drawn(text):
        return overlays.subtitle(text, 320, 240, ImageFont.load_default)

    one, two = drawn("It rained."), drawn("It rained the whole night, and nobody came to see me.")
    small = drawn(" ".join(["It rained the whole night, and nobody came to see me."] * 2))
    assert len(_components(one.hole.astype(np.uint8))) == 1
    assert 1.7 * one.hole.shape[0] < two.hole.shape[0] < 2.4 * one.hole.shape[0]
    assert small.hole.shape[0] < two.hole.shape[0]
    for made in (two, small):
        assert made.hole.shape[1] < 320
    assert drawn("It rained the whole night. " * 20) is None


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_logo_drifts_slowly_across_the_upper_part(width, height):
    fps = 9.0
    places = []
    for number in range(130):
        made = overlays.logo(number, fps, width, height, 0.8)
        frame = np.zeros((height, width, 3), np.uint8)
        mask = np.zeros((height, width), np.uint8)
        made.lay(frame, mask)
        (((left, top, wide, high), share),) = _components(mask)
        assert 0.6 < share < 0.95  # a disc
        assert abs(wide - high) <= 1
        assert min(left, top) >= 0
        assert left + wide <= width
        assert top + high <= 0.55 * height
        assert not frame[mask == 0].any()
        places.append((left + wide / 2, top + high / 2))
    x, y = np.array(places).T
    steps = np.hypot(np.diff(x), np.diff(y))
    assert steps.max() <= 2 + width / 50
    assert np.ptp(x) > 0.6 * width
    assert np.ptp(y) > 0.05 * height
    # A path of time, not of frames.
    again = overlays.logo(50, fps / 3, width, height, 0.8)
    same = overlays.logo(150, fps, width, height, 0.8)
    assert (again.left, again.top) == (same.left, same.top)
    assert np.array_equal(again.cover, same.cover)


@pytest.mark.parametrize("opacity", [0.5, 1.0])
def test_logo_opacity_blends_with_the_frame(opacity):
    seen = []
    for grey in (0, 200):
        frame = np.full((144, 176, 3), grey, np.uint8)
        overlays.logo(10, 25, 176, 144, opacity).lay(frame, np.zeros((144, 176), np.uint8))
        seen.append(frame.astype(int))
    made = overlays.logo(10, 25, 176, 144, opacity)
    inside = (
        slice(made.top, made.top + made.hole.shape[0]),
        slice(made.left, made.left + made.hole.shape[1]),
    )
    through = (seen[1] - seen[0])[inside][made.cover == opacity]
    assert len(through) > 200
    np.testing.assert_allclose(through, 200 * (1 - opacity), atol=1)


def test_font_option_changes_the_glyphs(tmp_path, capsys):
    source = write_video(tmp_path / "in.mp4", frames=2, width=176, height=144)
    argv = (source, tmp_path / "out.mkv", tmp_path / "masks", "--subtitle", "Où étais-tu ?")
    assert _run(*argv) == 2
    said = capsys.readouterr().err
    assert "Pillow's own font has no letter for 'ùé' of 'Où étais-tu ?': give another" in said
    assert _run(*argv, "--font", WIDE_FONT) == 0
    # The font has a zero-width glyph for this letter, so nothing would be visible.
    again = (source, tmp_path / "again.mkv", tmp_path / "again", "--subtitle", "\u200b")
    assert _run(*again, "--font", WIDE_FONT) == 2
    assert "has no letter for '\\u200b'" in capsys.readouterr().err


def test_pixel_format_with_and_without_lossless(tmp_path):
    source = write_video(tmp_path / "in.mp4", frames=3, width=96, height=64)
    for flag, pixels in (("--no-lossless", "yuv420p"), ("--lossless", "gbrp")):
        out = tmp_path / f"out{flag}.mp4"
        assert _run(source, out, tmp_path / f"masks{flag}", "--logo", flag) == 0
        with av.open(str(out)) as container:
            assert container.streams.video[0].pix_fmt == pixels


def test_video_keeps_audio_and_timestamps_masks_keep_timestamps_only(tmp_path, capsys):
    times = [40 * at + (15 if at % 3 else 0) for at in range(50)]
    source = with_sound(tmp_path / "in.mp4", times=times)
    out, masks = tmp_path / "out.mp4", tmp_path / "masks.mp4"
    assert _run(source, out, masks) == 0
    assert sound_of(out) == sound_of(source)
    assert sound_of(masks) == []
    for one in (out, masks):
        assert pts_of(one) == pytest.approx(pts_of(source), abs=1e-3)
    assert "audio left out" not in capsys.readouterr().out
    assert _run(source, out, masks, "--no-audio") == 0
    assert sound_of(out) == []
    assert "audio left out" in capsys.readouterr().out


def test_inpaint_removes_a_burnt_in_overlay_and_measures_psnr(store, tmp_path, capsys):
    """Both commands, one after the other, as a user runs them."""
    foreign.register(store, tmp_path / "model", TELEA)
    source = write_video(tmp_path / "in.mp4", frames=30, width=176, height=144)
    out, masks = tmp_path / "out.mp4", tmp_path / "masks.mkv"
    assert _run(source, out, masks, "--logo", "--frames-per-text", 10) == 0
    model = ("--model", "models:/sttn@candidate", "--tracking-uri", store)
    argv = map(str, (out, masks, tmp_path / "filled.mp4", "--truth", source, *model, "--json"))
    assert inpaint.main([*argv]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["hole_frames"] == 30
    found = printed["hole_psnr_db"]
    assert found["model"] == pytest.approx(found["telea"])  # the model is Telea's method
    assert found["propagation"] > 25


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["{video}", "{out}", "{masks}", "--subtitle"], "nothing to burn in: give --subtitle TEXT"),
        (["{video}", "{out}", "{masks}", "--subtitle", " "], "--subtitle has an empty TEXT"),
        (["{video}", "{out}", "{masks}", "--subtitle", "a" * 80], "does not fit into two lines"),
        (["{video}", "{out}", "{masks}", "--subtitle", "\u200b"], "has no letter for '\\u200b'"),
        (["{video}", "{out}", "{out}"], "OUT and MASKS are both"),
        (["{video}", "{avi}", "{masks}"], "OUT ends in '.avi': give .mp4, .mov, .mkv, or a name"),
        (["{video}", "{out}", "{avi}"], "MASKS ends in '.avi': give .mp4, .mov, .mkv, or a name"),
        (["{video}", "{video}", "{masks}"], "OUT is the input"),
        (["{video}", "{out}", "{video}"], "MASKS is the input"),
        (["{video}", "{out}", "{folder}"], "is a folder that is there already"),
        (["{video}", "{file}", "{masks}"], "is to be a folder, and a file is there"),
        (["{video}", "{nowhere}", "{masks}"], "its folder is not there"),
        (["{missing}", "{out}", "{masks}"], "missing.mp4 is not there"),
        (["wheel:no-such/a.mp4", "{out}", "{masks}"], "no distribution 'no-such' is installed"),
        (["{file}", "{out}", "{masks}"], "is not a video (Invalid data"),
        (["{tiny}", "{out}", "{masks}"], "VIDEO is 24x16, too small for letters and a logo"),
        (
            ["{video}", "{out}", "{masks}", "--logo-opacity", "0"],
            "--logo-opacity is 0.0: give a number above 0",
        ),
        (["{video}", "{out}", "{masks}", "--frames-per-text", "0"], "--frames-per-text is 0: give"),
        (["{video}", "{out}", "{masks}", "--fps", "0"], "--fps is 0.0: give a number above 0"),
        (
            ["{video}", "{out}", "{masks}", "--font", "{file}"],
            "cannot be read: unknown file format",
        ),
        (["{odd}", "{out}", "{masks}", "--no-lossless"], "needs an even width and height"),
        (["{video}", "{out}"], "Missing from burn_in: MASKS"),
    ],
)
def test_user_errors_are_one_line_and_write_nothing(tmp_path, capsys, argv, said):
    files = {
        "video": write_video(tmp_path / "in.mp4", frames=3, width=96, height=64),
        "tiny": write_video(tmp_path / "tiny.mp4", frames=3, width=24, height=16),
        "odd": tmp_path / "odd",
        "file": tmp_path / "file",
        "folder": tmp_path / "folder",
        "missing": tmp_path / "missing.mp4",
        "nowhere": tmp_path / "no" / "out.mp4",
        "out": tmp_path / "out.mp4",
        "avi": tmp_path / "out.avi",
        "masks": tmp_path / "masks.mkv",
    }
    files["folder"].mkdir()
    files["odd"].mkdir()
    cv2.imwrite(str(files["odd"] / "0.png"), np.zeros((65, 97, 3), np.uint8))
    files["file"].write_text("no video")
    there = sorted(tmp_path.rglob("*"))
    content = files["video"].read_bytes()
    assert _run(*(word.format(**files) for word in argv)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == there
    assert files["video"].read_bytes() == content
