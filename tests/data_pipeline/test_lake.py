import threading
from pathlib import Path

import pytest

from data_pipeline import lake
from data_pipeline.door import UserError


@pytest.fixture(params=["disk", "s3"])
def place(request, tmp_path):
    """A new empty place to write to, on disk and on S3."""
    if request.param == "disk":
        return str(tmp_path / "lake")
    return lake.join(request.getfixturevalue("s3"), tmp_path.name)


def test_create_only_where_there_is_nothing(place):
    uri = lake.join(place, "v1", "manifest.json")
    assert not lake.exists(uri)
    lake.create_bytes(uri, b"first")
    with pytest.raises(FileExistsError):
        lake.create_bytes(uri, b"second")
    assert lake.read_bytes(uri) == b"first"
    assert lake.exists(uri)
    assert lake.list_files(place) == ["v1/manifest.json"]


def test_one_of_many_creators_wins(place):
    uri = lake.join(place, "manifest.json")
    won = []

    def create(number):
        try:
            lake.create_bytes(uri, str(number).encode())
        except FileExistsError:
            return
        won.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert lake.read_bytes(uri) == str(won[0]).encode()


def test_files_there_and_back(place, tmp_path):
    local = tmp_path / "local.bin"
    data = bytes(range(256)) * 100
    local.write_bytes(data)
    uri = lake.join(place, "shards", "a.tar")
    lake.upload(local, uri)
    assert lake.read_bytes(uri) == data
    assert lake.read_range(uri, 1000, 20) == data[1000:1020]
    assert lake.read_range(uri, len(data) - 5, 20) == data[-5:]
    assert lake.read_range(uri, len(data), 20) == b""
    lake.write_bytes(uri, b"other")
    assert lake.read_range(uri, 0, 10) == b"other"
    back = tmp_path / "new" / "back.bin"
    lake.download(uri, back)
    assert back.read_bytes() == b"other"


def test_list_and_remove(place):
    assert lake.list_files(place) == []
    for name in ("a/1", "a/2", "b"):
        lake.write_bytes(lake.join(place, name), b"x")
    assert lake.list_files(place) == ["a/1", "a/2", "b"]
    assert lake.list_files(lake.join(place, "a")) == ["1", "2"]
    lake.remove_files(place, ["a/1", "a/2"])
    assert lake.list_files(place) == ["b"]
    lake.remove(lake.join(place, "b"))
    assert lake.list_files(place) == []
    with pytest.raises(FileNotFoundError):
        lake.read_bytes(lake.join(place, "b"))


def test_nothing_is_left_beside_a_file(tmp_path):
    lake.create_bytes(str(tmp_path / "d" / "a"), b"x")
    with pytest.raises(FileExistsError):
        lake.create_bytes(str(tmp_path / "d" / "a"), b"y")
    lake.write_bytes(str(tmp_path / "d" / "a"), b"z")
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["a"]


def test_an_unfinished_file_is_not_listed(tmp_path):
    (tmp_path / ".a.0011.part").write_bytes(b"half")
    assert lake.list_files(str(tmp_path)) == []


def test_empty_directories_go_with_their_files(tmp_path):
    root = tmp_path / "v1"
    lake.write_bytes(str(root / "shards" / "a"), b"x")
    lake.remove_files(str(root), ["shards/a"])
    assert not root.exists()
    assert tmp_path.exists()


def test_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert lake.absolute("a/b") == str(tmp_path / "a" / "b")
    assert lake.absolute("file:///a/b") == "/a/b"
    assert lake.absolute("~/a") == str(Path.home() / "a")
    assert lake.absolute("s3://bucket/a/") == "s3://bucket/a"
    with pytest.raises(UserError, match=r"'s4' \(did you mean 's3'\?\)"):
        lake.absolute("s4://bucket/a")
