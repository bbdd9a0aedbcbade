"""`shard` on real footage: odd colour tags, portrait film, coloured labels."""

import io
import json
from fractions import Fraction

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_pipeline import run
from data_pipeline.format import manifest
from data_pipeline.read.reader import DataSet
from tests.ffmpeg import ffmpeg, shown
from tests.layouts import encoded, picture, write_frames, write_youtube_vos
from tests.tiny import write_video

pytestmark = pytest.mark.usefixtures("ray_for_all")

WIDTH, HEIGHT = 96, 64
PATCHES = ((120, 90, 170), (60, 150, 110), (200, 120, 140), (90, 128, 128))  # Y, Cb, Cr
UNREADABLE = {14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro"}


def shard(capsys, output, *flags, code=0):
    """The command's exit code is `code`; returns its lines and the rows of the catalogue by id."""
    argv = ["shard", "--output", output, "--workers", 1, "--min-frames", 1, *flags]
    assert run.main(list(map(str, argv))) == code
    said = capsys.readouterr()
    lines = (said.out if code == 0 else said.err).splitlines()
    if code:
        return lines, {}
    rows = pq.read_table(f"{output}/catalogue.parquet").to_pylist()
    return lines, {row["id"]: row for row in rows}


def first_frame(uri, video):
    data = DataSet.open(str(uri))
    (row,) = (row for row in data.videos("train") if row.id == video)
    return data.read_frames(row, [0])[0].astype(int)


def patches(path, matrix, primaries=2):
    """A film of four patches of known YUV whose tags say `matrix` and `primaries`."""
    planes = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    for number, values in enumerate(PATCHES):
        planes[:, :, number * 24 : number * 24 + 24] = np.array(values)[:, None, None]
    raw, plain = path.parents[1] / "raw.yuv", path.parents[1] / "plain.mp4"
    raw.write_bytes(planes.tobytes() * 5)
    ffmpeg("-f", "rawvideo", "-pix_fmt", "yuv444p", "-s", f"{WIDTH}x{HEIGHT}", "-i", raw,
           "-c:v", "libx264", "-qp", 0, plain)  # fmt: skip
    tags = f"h264_metadata=matrix_coefficients={matrix}:colour_primaries={primaries}"
    ffmpeg("-i", plain, "-c", "copy", "-bsf:v", tags, path)
    return path


def meant(matrix, primaries=2):
    """RGB of the patches by H.273, [4, 3]."""
    y, cb, cr = np.array(PATCHES, float).T
    y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    if matrix == 8:
        rgb = y - cb + cr, y + cb, y - cb - cr
    elif matrix == 11:
        rgb = 2 * cr + 0.991902 * y, y, (2 * cb + y) / 0.986566
    else:
        of = primaries if matrix in (12, 13) else matrix
        kr, kb = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}.get(
            of, (0.299, 0.114)
        )
        r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
        rgb = r, (y - kr * r - kb * b) / (1 - kr - kb), b
    return np.clip(np.stack(rgb, axis=-1) * 255, 0, 255)


def test_unknown_colour_tags_do_not_end_the_job(tmp_path, capsys):
    films = {f"m{m}": (m, 2) for m in (1, 2, 8, 9, 10, 11, *UNREADABLE)}
    films |= {f"m{m}p{p}": (m, p) for m in (12, 13) for p in (1, 2, 9)}
    (tmp_path / "in").mkdir()
    for name, (matrix, primaries) in films.items():
        patches(tmp_path / "in" / f"{name}.mp4", matrix, primaries)
    size = ("--width", WIDTH, "--height", HEIGHT)
    given = ("--input", tmp_path / "in", *size)
    lines, _ = shard(capsys, tmp_path / "none", *given, code=1)
    assert "m14.mp4 has colours in ICtCp (matrix 14): not read here" in lines[-1]
    assert not any("Traceback" in line for line in lines)
    _, rows = shard(capsys, tmp_path / "v1", *given, "--max-rejected", 0.5)
    for name, (matrix, primaries) in films.items():
        if matrix in UNREADABLE:
            why = f"has colours in {UNREADABLE[matrix]} (matrix {matrix}): not read here"
            assert (rows[name]["status"], rows[name]["reason"]) == ("rejected", why)
            continue
        assert rows[name]["status"] == "ok", name
        frame = first_frame(tmp_path / "v1", name)
        found = np.stack([frame[32, 12 + 24 * number] for number in range(4)])
        assert np.abs(found - meant(matrix, primaries)).max() < 4, name
    # ffmpeg as a reference, where it knows an equivalent tag.
    for name, same in (("m10", "bt2020nc"), ("m12p9", "bt2020nc"), ("m13p1", "bt709")):
        player = shown(tmp_path / "in" / f"{name}.mp4", f"setparams=colorspace={same}")[0]
        frame = first_frame(tmp_path / "v1", name)
        assert np.abs(frame - player.astype(int)).mean() < 2, name


def bars(path, width, height, aspect=Fraction(1)):
    """A film with a white square of half its shorter side, as displayed, in its middle."""
    side = min(round(width * aspect), height) // 2
    box = f"drawbox=x=(iw-w)/2:y=(ih-h)/2:w={round(side / aspect)}:h={side}:c=white:t=fill"
    ffmpeg("-f", "lavfi", "-i", f"color=gray:s={width}x{height}:r=25:d=0.2", "-vf",
           f"{box},setsar={aspect}", "-c:v", "libx264", "-qp", 1, path)  # fmt: skip
    return path


def square(frame):
    """Width and height of what is white."""
    white = (frame > 200).all(axis=2)
    return white.any(axis=0).sum(), white.any(axis=1).sum()


@pytest.mark.parametrize(
    ("fit", "size"), [("crop", (80, 80)), ("letterbox", (20, 20)), ("stretch", (80, 20))]
)
def test_portrait_film(tmp_path, capsys, fit, size):
    bars(tmp_path / "portrait.mp4", 80, 160)
    flags = ("--input", tmp_path / "portrait.mp4", "--width", 160, "--height", 80)
    given = () if fit == "crop" else ("--fit", fit)  # crop is the default
    lines, _ = shard(capsys, tmp_path / "v1", *flags, *given)
    done = {"crop": "cropped", "letterbox": "letterboxed", "stretch": "stretched"}[fit]
    assert (
        f"1 video is of another shape than 160x80 and is {done} (portrait): --fit crop, "
        "letterbox or stretch chooses"
    ) in lines
    frame = first_frame(tmp_path / "v1", "portrait")
    assert square(frame) == pytest.approx(size, abs=2)
    assert (frame[40, 2] < 16).all() == (fit == "letterbox")
    settings = manifest.load(str(tmp_path / "v1")).settings
    assert settings.get("fit") == (None if fit == "stretch" else fit)
    # The same command finds it, another choice is another data set.
    again, _ = shard(capsys, tmp_path / "v1", *flags, *given)
    assert "already there" in again[0]
    other = "stretch" if fit == "crop" else "crop"
    (*_, line), _ = shard(capsys, tmp_path / "v1", *flags, "--fit", other, code=2)
    assert "exists with other content (fit: requested" in line


def test_matching_shapes_give_the_same_data_set_for_any_fit(tmp_path, capsys):
    write_video(tmp_path / "in" / "a.mp4", frames=5, width=96, height=64)
    bars(
        tmp_path / "in" / "anamorphic.mp4", 72, 64, Fraction(4, 3)
    )  # as wide as it is displayed: 96
    flags = ("--input", tmp_path / "in", "--width", 96, "--height", 64)
    digests = set()
    for number, fit in enumerate(((), ("--fit", "letterbox"), ("--fit", "stretch"))):
        lines, _ = shard(capsys, tmp_path / f"v{number}", *flags, *fit)
        assert not any("another shape" in line for line in lines)
        assert "fit" not in manifest.load(str(tmp_path / f"v{number}")).settings
        digests.add(lines[1])
    assert len(digests) == 1
    assert square(first_frame(tmp_path / "v0", "anamorphic")) == pytest.approx((32, 32), abs=2)


def test_labels_follow_the_fit_of_their_frames(tmp_path, capsys):
    """An object stays at its place in the frame for any fit."""
    masks = {}
    for fit in ("crop", None):
        root = tmp_path / str(fit)
        for name in ("a", "b"):
            write_frames(root / "train/JPEGImages" / name, range(5), width=40, height=80)
        labels = np.zeros((80, 40), np.uint8)
        labels[30:50, 10:30] = 1  # a square
        folder = root / "train/Annotations/a"
        folder.mkdir(parents=True)
        for number in range(5):
            (folder / f"{number:05d}.png").write_bytes(encoded(labels, "PNG"))
        flags = ("--source", "youtube-vos", "--input", root, "--width", 80, "--height", 40)
        given = ("--fit", fit) if fit else ()
        lines, _ = shard(capsys, root / "v1", *flags, *given, "--static", 1, "--moving", 0)
        assert any(f"{'cropped' if fit else 'stretched'} (a, b)" in line for line in lines)
        data = DataSet.open(str(root / "v1"))
        (row,) = (row for row in data.videos("train") if row.id == "b")
        masks[fit] = data.read_masks(row, 1, [0])[0]
    tall, wide = (np.argwhere(masks[fit]) for fit in ("crop", None))
    assert np.ptp(tall, axis=0).tolist() == [39, 39]
    assert np.ptp(wide, axis=0).tolist() == [9, 39]


def test_invalid_annotations_are_named(tmp_path, capsys):
    root = write_youtube_vos(
        tmp_path / "in", {"a": range(5), "b": range(5)}, annotated={"a": range(5), "b": range(5)}
    )
    for label in (root / "train/Annotations/a").iterdir():
        label.write_bytes(encoded(picture(), "PNG"))  # a photograph
    for label in (root / "train/Annotations/b").iterdir():
        image = Image.open(label).convert("RGB")  # labels, but in colours
        data = io.BytesIO()
        image.save(data, format="PNG")
        label.write_bytes(data.getvalue())
    flags = ("--source", "youtube-vos", "--input", root, "--width", 48, "--height", 32)
    lines, rows = shard(capsys, tmp_path / "v1", *flags)
    (line,) = (line for line in lines if "object masks" in line)
    assert line.startswith("annotations of 1 video give no object masks: a has an annotation of")
    assert "object" in rows["a"]["mask_kinds"]  # of b
    assert "object" not in rows["b"]["mask_kinds"]


def test_missing_frame_numbers_are_reported(tmp_path, capsys):
    write_frames(tmp_path / "in/train/JPEGImages/a", [n for n in range(1, 13) if n != 7])
    write_frames(tmp_path / "in/train/JPEGImages/b", range(0, 50, 5))
    flags = ("--source", "youtube-vos", "--input", tmp_path / "in", "--width", 48, "--height", 32)
    lines, _ = shard(capsys, tmp_path / "v1", *flags, "--json")
    assert "1 video has gaps in the numbers of its frames: a: 1 to 12, 7 is missing" in lines
    assert json.loads(lines[-1])["frames"] == 21
