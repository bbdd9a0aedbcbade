"""What `verify` finds: any damage, and inconsistent parts although all hashes agree."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline import run
from data_pipeline.cli.command import UserError
from data_pipeline.format import catalogue, manifest
from data_pipeline.inspection import tar_walk
from data_pipeline.inspection.verify import verify
from data_pipeline.storage import lake
from tests.data_pipeline import handmade


@pytest.fixture
def own(tmp_path):
    """A data set that a test may damage."""
    uri = str(tmp_path / "lake" / "tiny" / "v1")
    handmade.make(uri)
    return Path(uri)


def change_rows(root, video, **fields):
    """Change a video's row of the catalogue, and make the manifest agree."""
    path = root / catalogue.CATALOGUE
    rows = catalogue.decode_catalogue(path.read_bytes())
    rows = [replace(row, **fields) if row.id == video else row for row in rows]
    path.write_bytes(catalogue.encode_catalogue(rows))
    handmade.commit_again(str(root))


def change_index(root, shard, column, change):
    """Change a column of an index, and make the manifest agree."""
    path = root / catalogue.index_path(shard)
    table = pq.read_table(path)
    at = table.column_names.index(column)
    values = pa.array(change(table[column].to_pylist()), type=table.schema.field(at).type)
    pq.write_table(table.set_column(at, table.schema.field(at), values), path)
    handmade.commit_again(str(root))


def shard_of(root, shard):
    (path,) = root.glob(f"shards/{shard}-*.tar")
    return path


def test_an_intact_data_set_has_no_differences(own, capsys):
    (own / "_staging").mkdir()
    (own / "_staging" / "note.json").write_text("work of a build is no part of it")
    checked = verify(str(own))
    assert checked.differences == ()
    assert checked.files == 7
    assert checked.bytes == sum(f.size for f in manifest.load(str(own)).payload.values())
    assert run.main(["verify", str(own)]) == 0
    assert "7 files, all as in the manifest" in capsys.readouterr().out


def test_every_difference_is_listed(own, flip_byte, capsys):
    frame = pq.read_table(own / "index/train-00000.parquet").to_pylist()[3]
    flip_byte(shard_of(own, "train-00000"), frame["offset"] + 9)
    (own / "index/test-00000.parquet").unlink()
    shard_of(own, "train-00001").unlink()
    (own / "thesis.tex").write_text("stray")
    with (own / "index/train-00001.parquet").open("ab") as file:
        file.write(b"x")
    found = verify(str(own)).differences
    for line, words in zip(
        found,
        (
            "thesis.tex: not in the manifest",
            "index/test-00000.parquet: missing",
            " bytes, the manifest says ",
            ".tar: content differs",
            "video b, frame 3: bytes",
            ".tar: missing",
        ),
        strict=True,
    ):
        assert words in line
    assert run.main(["verify", str(own), "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["differences"] == list(found)
    assert "6 ways" in err


def test_the_manifest_itself_is_checked(own):
    value = json.loads((own / manifest.MANIFEST).read_text())
    value["settings"]["seed"] = 5
    (own / manifest.MANIFEST).write_text(json.dumps(value))
    (line,) = verify(str(own)).differences
    assert "its digest is not that of what it says" in line
    (own / manifest.MANIFEST).unlink()
    with pytest.raises(UserError, match="no manifest"):
        verify(str(own))


def test_any_flipped_byte_of_a_shard_is_found_and_located(own, flip_byte):
    path = shard_of(own, "test-00000")
    size = path.stat().st_size
    for offset in range(0, size, 251):
        flip_byte(path, offset)
        found = verify(str(own)).differences
        assert "content differs" in found[0]
        flip_byte(path, offset)
    assert verify(str(own)).differences == ()


@pytest.mark.parametrize("left", [0, 512, 700, 5000, -10240])
def test_a_truncated_tar_is_reported_with_the_position(own, left):
    path = shard_of(own, "test-00000")
    path.write_bytes(path.read_bytes()[:left])
    handmade.commit_again(str(own))
    found = verify(str(own)).differences
    assert "is cut off" in found[0]


@pytest.mark.parametrize(
    ("column", "change", "words"),
    [
        ("offset", lambda v: [v[0] + 1, *v[1:]], "video b, frame 0: at bytes 512 to"),
        ("crc32", lambda v: [*v[:-1], v[-1] ^ 1], "video c, frame 39: bytes"),
        ("size", lambda v: [v[0] - 1, *v[1:]], "video b has 5 frames of"),
        ("shard", lambda v: ["shards/other.tar", *v[1:]], "points into shards/other.tar"),
        ("frame", lambda v: [v[1], v[0], *v[2:]], "not in the order of the catalogue"),
        ("video", lambda v: ["c", *v[1:]], "video b has 4 frames"),
    ],
)
def test_an_index_that_points_to_wrong_bytes(own, column, change, words):
    change_index(own, "train-00000", column, change)
    found = verify(str(own)).differences
    assert any(words in line for line in found), found


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"frames": 6}, "video b has 5 frames"),
        ({"masks_offset": 0}, "video b, masks: at bytes"),
        ({"masks_crc32": 1}, "video b, masks: bytes"),
        ({"chunk_crc32": [[1], [2]]}, "video b: masks are not the chunks"),
        ({"split": "test"}, "video b: its description is not that of the catalogue"),
        ({"mask_kinds": ["moving", "moving"]}, "video b: its description is not that"),
        ({"shard": "shards/none.tar"}, "video b is in 'shards/none.tar', which is not there"),
        ({"id": "z"}, "video z, masks: not in the tar"),
        ({"status": "rejected"}, "holds b.meta.json, which no table names"),
    ],
)
def test_an_inconsistent_catalogue_is_reported(own, fields, words):
    change_rows(own, "b", **fields)
    found = verify(str(own)).differences
    assert any(words in line for line in found), found


def test_tables_that_are_missing_from_the_manifest(own):
    (own / "index/test-00000.parquet").unlink()
    handmade.commit_again(str(own))
    (line,) = verify(str(own)).differences
    assert "index/test-00000.parquet: the manifest names no index" in line
    (own / catalogue.CATALOGUE).unlink()
    handmade.commit_again(str(own))
    assert "catalogue.parquet: the manifest names none" in verify(str(own)).differences


def test_a_tar_with_a_member_twice_or_no_tar_at_all(own):
    path = shard_of(own, "test-00000")
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    data = path.read_bytes()
    again = data[last.offset : last.offset_data + 512]
    path.write_bytes(data[: last.offset] + 2 * again + bytes(1024))
    handmade.commit_again(str(own))
    found = verify(str(own)).differences
    assert any("holds a.meta.json 2 times" in line for line in found), found
    path.write_bytes(
        data[:110] + b"1" + data[111:]
    )  # the owner field, which only the checksum protects
    handmade.commit_again(str(own))
    assert "holds no tar header at byte 0" in verify(str(own)).differences[0]
    path.write_bytes(b"nothing" * 300)
    handmade.commit_again(str(own))
    assert "holds no tar header at byte 0" in verify(str(own)).differences[0]


def test_verify_does_not_depend_on_the_piece_size(own, monkeypatch):
    monkeypatch.setattr(tar_walk, "PIECE", 512)
    assert verify(str(own)).differences == ()


def test_a_file_that_cannot_be_read_is_a_difference(own, monkeypatch):
    honest = lake.read_range

    def broken(uri, start, size):
        if "test-00000" in uri:
            raise lake.TransientError(f"{uri}: Input/output error")
        return honest(uri, start, size)

    monkeypatch.setattr(lake, "read_range", broken)
    (line,) = verify(str(own)).differences
    assert "cannot be read" in line
    assert "Input/output error" in line


def test_on_s3(s3):
    uri = lake.join(s3, "checked", "v1")
    handmade.make(uri)
    assert verify(uri).differences == ()
    (tar, *_) = [name for name in lake.list_files(uri) if name.endswith(".tar")]
    data = bytearray(lake.read_bytes(lake.join(uri, tar)))
    data[600] ^= 1
    lake.write_bytes(lake.join(uri, tar), bytes(data))
    lake.remove(lake.join(uri, "index/train-00001.parquet"))
    lake.write_bytes(lake.join(uri, "stray.bin"), b"x")
    found = verify(uri).differences
    assert len(found) == 4
    assert "video a, frame 0" in found[3]
