"""Pictures in folders and zips, valid and hostile; label pictures."""

import contextlib
import hashlib
import io
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from data_pipeline.format import sample
from data_pipeline.sources import frame_folders
from data_pipeline.sources.annotations import annotations
from data_pipeline.sources.read import jpegs
from data_pipeline.sources.record import BadVideoError, SourceStats, SourceVideo
from data_pipeline.storage import lake
from tests.data_pipeline.sources.limits import LIMITS, bad, read
from tests.layouts import HEIGHT, WIDTH, encoded, labels, picture, write_zip


def folder_of(tmp_path, pictures, kind="jpg"):
    """A video whose frames are these files."""
    folder = tmp_path / "in" / "v"
    folder.mkdir(parents=True)
    for number, data in enumerate(pictures):
        (folder / f"{number}.{kind}").write_bytes(data)
    return SourceVideo("v", "train", "folder", str(folder), "in/v", len(pictures), 1, "30/1")


def zip_of(tmp_path, members, frames=None, **options):
    path = write_zip(tmp_path / "v.zip", members, **options)
    return zip_at(path, len(members) if frames is None else frames)


def zip_at(path, frames):
    return SourceVideo("v", "train", "zip", str(path), "v.zip", frames, 1, "30/1")


def decoded(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg))).astype(int)


FRAMES = [encoded(picture(number)) for number in range(6)]
MEMBERS = {f"{number:05d}.jpg": data for number, data in enumerate(FRAMES)}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_jpeg_of_the_final_size_keeps_its_bytes(tmp_path, kind):
    video = folder_of(tmp_path, FRAMES) if kind == "folder" else zip_of(tmp_path, MEMBERS)
    seen = SourceStats()
    assert list(jpegs(video, WIDTH, HEIGHT, LIMITS, seen)) == FRAMES
    assert (seen.width, seen.height) == (WIDTH, HEIGHT)
    assert seen.sha256 == hashlib.sha256(b"".join(FRAMES)).hexdigest()


def test_other_pictures_are_reencoded(tmp_path):
    pixels = picture()
    alpha = np.dstack([pixels, np.full((HEIGHT, WIDTH), 128, np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned = np.rot90(pixels)
    stored = [
        encoded(pixels, "PNG"),
        encoded(pixels, "BMP"),
        encoded(pixels, "WEBP", lossless=True),
        encoded(alpha, "PNG"),
        encoded(turned, quality=100, subsampling=0, exif=exif.tobytes()),
    ]
    video = folder_of(tmp_path, stored)
    want = decoded(sample.encode_frame(pixels))
    got = read(video)
    assert all(jpeg == sample.encode_frame(pixels) for jpeg in got[:4])
    assert np.abs(decoded(got[4]) - want).mean() < 2
    exif[0x0112] = 3  # upside down: the size alone does not tell
    upside_down = encoded(pixels[::-1, ::-1], quality=100, subsampling=0, exif=exif.tobytes())
    (own,) = read(folder_of(tmp_path / "c", [upside_down]))
    assert np.abs(decoded(own) - want).mean() < 2
    seen = SourceStats()
    next(jpegs(folder_of(tmp_path / "b", stored[4:]), WIDTH, HEIGHT, LIMITS, seen))
    assert (seen.width, seen.height) == (WIDTH, HEIGHT)


def test_grey_pictures(tmp_path):
    grey = picture()[..., 0]
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    data = io.BytesIO()
    deep.save(data, format="PNG")
    cmyk = io.BytesIO()
    Image.fromarray(picture()).convert("CMYK").save(cmyk, format="JPEG")
    video = folder_of(tmp_path, [encoded(grey), encoded(grey, "PNG"), data.getvalue()] * 2)
    got = read(video)
    colour = sample.encode_frame(np.repeat(grey[..., None], 3, axis=2))
    assert got[1] == got[2] == colour
    assert np.abs(decoded(got[0]) - decoded(colour)).mean() < 2
    (own,) = read(folder_of(tmp_path / "b", [cmyk.getvalue()]))
    assert decoded(own).shape == (HEIGHT, WIDTH, 3)


def test_pictures_of_another_size_are_resized(tmp_path):
    sizes = [(96, 64), (48, 32), (20, 90)]
    video = folder_of(tmp_path, [encoded(picture(width=w, height=h)) for w, h in sizes])
    seen = SourceStats()
    got = list(jpegs(video, WIDTH, HEIGHT, LIMITS, seen))
    assert [decoded(jpeg).shape for jpeg in got] == [(HEIGHT, WIDTH, 3)] * 3
    assert (seen.width, seen.height) == (96, 64)
    own = Image.open(io.BytesIO((tmp_path / "in/v/0.jpg").read_bytes())).convert("RGB")
    resized = own.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    assert got[0] == sample.encode_frame(np.asarray(resized))


def png_that_says(width, height):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def progressive_of(scans):
    whole = encoded(picture(), progressive=True)
    start = whole.index(b"\xff\xda")
    second = whole.index(b"\xff\xc4", start)
    return whole[:second] + b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00" * scans + whole[second:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "has a picture that cannot be decoded"),
        (b"no picture", "has a picture that cannot be decoded"),
        (FRAMES[0][:-200], "has a picture that cannot be decoded"),
        (FRAMES[0][:-20], "has a picture that cannot be decoded"),
        (encoded(picture(), "GIF"), "has a picture that cannot be decoded"),
        (encoded(picture(), "PNG")[:-300], "has a picture that cannot be decoded"),
        (png_that_says(40_000, 40_000), "has a picture of more than 2097152 pixels"),
        (png_that_says(2000, 2000), "has a picture of more than 2097152 pixels"),
        (png_that_says(0, 5), "has a picture that cannot be decoded"),
        (FRAMES[0] + bytes(10**6), "has a picture of more than 1000000 bytes"),
        (progressive_of(300), "has a picture of more than 200 scans"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "has a picture that cannot be decoded",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_bad_pictures_are_refused(tmp_path, data, reason, kind):
    pictures = [*FRAMES[:3], data, *FRAMES[4:]]
    if kind == "folder":
        video = folder_of(tmp_path, pictures)
    else:
        video = zip_of(tmp_path, {f"{n}.jpg": p for n, p in enumerate(pictures)})
    assert bad(video).reason == reason


def test_a_folder_changed_since_it_was_listed(tmp_path):
    video = folder_of(tmp_path, FRAMES)
    (tmp_path / "in/v/9.jpg").write_bytes(FRAMES[0])
    assert bad(video).reason == "has 7 frames, but 6 are listed"
    (tmp_path / "in/v/9.jpg").unlink()
    (tmp_path / "in/v/5.jpg").rename(tmp_path / "in/v/5.txt")
    assert bad(video).reason == "has 5 frames, but 6 are listed"


def test_links_to_pictures_stay_inside_the_input(tmp_path):
    video = folder_of(tmp_path, FRAMES[:5])
    (tmp_path / "private.jpg").write_bytes(FRAMES[5])
    inside = tmp_path / "in" / "v" / "4.jpg"
    inside.unlink()
    inside.symlink_to("3.jpg")
    assert read(video)[4] == FRAMES[3]
    inside.unlink()
    inside.symlink_to(tmp_path / "private.jpg")
    # The input is `tmp_path`: files beside "in" are still inside it.
    assert read(video)[4] == FRAMES[5]
    outside = SourceVideo("v", "train", "folder", video.uri, "v", 5, 1, "30/1")
    assert bad(outside).reason == "has a picture that is a link out of the input"


def test_a_picture_is_never_read_beyond_its_limit(tmp_path, monkeypatch):
    video = folder_of(tmp_path, FRAMES)
    # The file grows after it was listed.
    sizes = frame_folders.files_of(video.uri)
    monkeypatch.setattr(frame_folders, "files_of", lambda _: sizes)
    with (tmp_path / "in/v/2.jpg").open("ab") as file:
        file.truncate(2**40)  # sparse: reading all of it would exhaust memory
    assert bad(video).reason == "has a picture of more than 1000000 bytes"


def test_frames_from_s3_come_in_order(tmp_path, s3):
    many = [encoded(picture(number), quality=50 + number) for number in range(40)]
    for number, data in enumerate(many):
        lake.write_bytes(f"{s3}/ahead/v/{number}.jpg", data)
    video = SourceVideo("v", "train", "folder", f"{s3}/ahead/v", "v", 40, 1, "30/1")
    assert read(video) == many
    lake.write_bytes(f"{s3}/ahead/v/30.jpg", bytes(2 * 10**6))
    assert bad(video).reason == "has a picture of more than 1000000 bytes"
    half = jpegs(folder_of(tmp_path, FRAMES), WIDTH, HEIGHT, LIMITS, SourceStats())
    next(half)
    half.close()  # a reader that stops leaves no temporary files


# Zips


def refused(tmp_path, members, frames=6, **options):
    return bad(zip_of(tmp_path, members, frames, **options)).reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../6.jpg", "has a member with an unsafe name"),
        ("a/../../6.jpg", "has a member with an unsafe name"),
        ("/6.jpg", "has a member with an unsafe name"),
        ("..\\6.jpg", "has a member with an unsafe name"),
        ("C:6.jpg", "has a member with an unsafe name"),
        ("../readme.txt", "has a member with an unsafe name"),
        ("6.jpg", "has 7 frames, but 6 are listed"),
        ("5.png", "has two pictures of one number"),
        ("cover.jpg", "has a picture whose name is no number"),
        ("sub/6.jpg", "has files in more than one folder"),
    ],
)
def test_zip_members_that_are_refused(tmp_path, name, reason):
    assert refused(tmp_path, MEMBERS | {name: FRAMES[0]}) == reason
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.zip"]


def test_zip_members_that_are_accepted(tmp_path):
    more = {
        "__MACOSX/._00000.jpg": b"junk",
        ".DS_Store": b"junk",
        "nested.zip": b"PK",
        "a.txt": b"",
    }
    assert read(zip_of(tmp_path, MEMBERS | more, 6)) == FRAMES
    inside = {"v/": b""} | {f"v/{name}": data for name, data in MEMBERS.items()}
    assert read(zip_of(tmp_path, inside, 6)) == FRAMES
    deflated = write_zip(tmp_path / "d.zip", {})
    with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in MEMBERS.items():
            archive.writestr(name, data)
    assert read(zip_at(deflated, 6)) == FRAMES


def test_linked_encrypted_or_otherwise_packed_members_are_refused(tmp_path):
    def refused_member(change, method=zipfile.ZIP_STORED):
        path = tmp_path / "v.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in MEMBERS.items():
                info = zipfile.ZipInfo(name)
                if name == "00003.jpg":
                    info.compress_type = method
                    change(info)
                archive.writestr(info, data)
        return bad(zip_at(path, 6)).reason

    def link(info):
        info.external_attr = 0o120777 << 16

    assert refused_member(link) == "has a member that is a link"
    other = "has a member packed in another way than stored or deflated"
    assert refused_member(lambda _: None, zipfile.ZIP_LZMA) == other
    path = write_zip(tmp_path / "v.zip", MEMBERS)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert bad(zip_at(path, 6)).reason == "has an encrypted member"


def test_duplicate_zip_members_are_refused(tmp_path):
    path = tmp_path / "v.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in MEMBERS.items():
            archive.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("00003.jpg", FRAMES[0])
    assert bad(zip_at(path, 6)).reason == "has two members of one name"


def test_zip_bombs_are_refused(tmp_path):
    black = encoded(np.zeros((400, 800, 3), np.uint8), "BMP")
    path = tmp_path / "v.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(6):
            archive.writestr(f"{number}.bmp", black)
    assert bad(zip_at(path, 6)).reason == "unpacks to more than 100 times its size"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(6):
            archive.writestr(f"{number}.jpg", FRAMES[0] + os.urandom(20_000))
        archive.writestr("6.jpg", bytes(2 * 10**6))
    assert bad(zip_at(path, 7)).reason == "has a picture of more than 1000000 bytes"


def test_a_zip_member_larger_than_declared_is_refused(tmp_path):
    path = tmp_path / "v.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.jpg", bytes(50 * 10**6))
        archive.writestr("1.bin", os.urandom(10**5))
    data = bytearray(path.read_bytes())
    for header, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.index(header) + place
        data[start : start + 4] = struct.pack("<I", 1000)
    path.write_bytes(data)
    assert bad(zip_at(path, 1)).reason == "is a damaged zip"


def test_overlapping_zip_members_are_refused(tmp_path):
    path = write_zip(tmp_path / "v.zip", MEMBERS)
    data = bytearray(path.read_bytes())
    entries = [n for n in range(len(data)) if data[n : n + 4] == b"PK\x01\x02"]
    for entry in entries:  # all of them are the first one
        data[entry + 42 : entry + 46] = struct.pack("<I", 0)
    path.write_bytes(data)
    assert bad(zip_at(path, 6)).reason == "has members that overlap"


def test_an_oversized_zip_directory_is_refused(tmp_path):
    path = write_zip(tmp_path / "v.zip", {f"{n}.txt": b"" for n in range(4000)})
    assert path.stat().st_size < 500_000
    reason = "has a table of contents that is too large for its frames"
    assert bad(zip_at(path, 6)).reason == reason
    assert bad(zip_at(path, 900)).reason == "has 0 frames, but 900 are listed"


@pytest.mark.parametrize("end", [0, 10, 3000, -1])
def test_truncated_zips(tmp_path, end):
    path = write_zip(tmp_path / "v.zip", MEMBERS)
    path.write_bytes(path.read_bytes()[:end])
    assert bad(zip_at(path, 6)).reason == "is a damaged zip"


def test_every_kind_of_damage_to_a_zip_has_a_reason(tmp_path):
    path = write_zip(tmp_path / "v.zip", MEMBERS)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        start = int(random.integers(len(data)))
        data[start : start + 8] = random.bytes(8)
        path.write_bytes(data)
        with contextlib.suppress(BadVideoError):
            assert read(zip_at(path, 6)) == FRAMES


# Labels


def annotated(tmp_path, pictures):
    video = folder_of(tmp_path, FRAMES)
    folder = tmp_path / "in" / "labels"
    folder.mkdir()
    for number, data in pictures.items():
        (folder / f"{number:05d}.png").write_bytes(data)
    return SourceVideo(
        "v", "train", "folder", video.uri, "in/v", 6, 1, "30/1", annotations=str(folder)
    )


def grey(values, mode="L"):
    data = io.BytesIO()
    Image.fromarray(np.asarray(values, np.uint8)).convert(mode).save(data, format="PNG")
    return data.getvalue()


def test_a_fully_ignored_label_picture_has_no_object(tmp_path):
    image = Image.new("P", (2, 2), 255)
    image.putpalette([0] * 768)
    data = io.BytesIO()
    image.save(data, format="PNG")
    ((_, values),) = annotations(annotated(tmp_path, {0: data.getvalue()}), LIMITS)
    assert values.tolist() == [[0, 0], [0, 0]]


def test_label_pictures_are_read(tmp_path):
    objects = [[0, 1], [2, 255]]
    mask = [[0, 255], [255, 0]]
    pictures = {5: grey(objects), 0: labels(), 2: grey(mask), 3: grey(mask, "1"), 9: labels()}
    found = annotations(annotated(tmp_path, pictures), LIMITS)
    assert [place for place, _ in found] == [0, 2, 3, 5]
    assert all(values.dtype == np.uint8 for _, values in found)
    palette, white, bits, small = (values for _, values in found)
    assert set(palette[4:12, 2:14].ravel().tolist()) == {1}
    assert set(palette[30].tolist()) == {0}  # ignored
    assert white.tolist() == bits.tolist() == [[0, 1], [1, 0]]
    assert small.tolist() == [[0, 1], [2, 0]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_labels_drawn_in_colours(tmp_path, mode):
    """As saved by tools that drop the palette: an object keeps its number in all pictures."""
    red, green, nothing, ignored = (128, 0, 0), (0, 128, 0), (0, 0, 0), (224, 224, 192)
    first = [[nothing, green], [red, ignored]]
    second = [[red, nothing], [nothing, green]]

    def drawn(colours):
        image = Image.fromarray(np.asarray(colours, np.uint8)).convert(mode)
        if mode == "RGBA":
            image.putpixel((1, 1), (*image.getpixel((1, 1))[:3], 0))
        data = io.BytesIO()
        image.save(data, format="PNG")
        return data.getvalue()

    found = annotations(annotated(tmp_path, {0: drawn(first), 1: drawn(second)}), LIMITS)
    (_, one), (_, two) = found
    assert one.tolist() == [[0, 1], [2, 0]]
    assert two.tolist() == [[2, 0], [0, 0 if mode == "RGBA" else 1]]
    white = np.array([[[255] * 3, [0] * 3]], np.uint8)
    ((_, alone),) = annotations(annotated(tmp_path / "b", {0: encoded(white, "PNG")}), LIMITS)
    assert alone.tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            encoded(picture(), "PNG"),
            "has an annotation of more than 64 colours: no picture of labels",
        ),
        (
            encoded(picture(), "JPEG"),
            "has an annotation of more than 64 colours: no picture of labels",
        ),
        (grey([[0, 1]], "LA"), "has an annotation that is no picture of labels"),
        (labels()[:100], "has a picture that cannot be decoded"),
        (b"", "has a picture that cannot be decoded"),
        (png_that_says(40_000, 40_000), "has a picture of more than 2097152 pixels"),
        (bytes(2 * 10**6), "has a picture of more than 1000000 bytes"),
    ],
)
def test_bad_labels_are_refused(tmp_path, data, reason):
    with pytest.raises(BadVideoError) as caught:
        annotations(annotated(tmp_path, {0: labels(), 1: data}), LIMITS)
    assert caught.value.reason == reason
