import errno
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_pipeline.cli.command import UserError
from data_pipeline.storage import disk, lake
from data_pipeline.storage import s3 as room


@pytest.fixture(params=["disk", "s3"])
def place(request, tmp_path):
    """A new empty place to write to, on disk and on S3."""
    if request.param == "disk":
        return str(tmp_path / "lake")
    return lake.join(request.getfixturevalue("s3"), tmp_path.name)


def test_create_fails_where_a_file_exists(place):
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


def test_files_round_trip(place, tmp_path):
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


def test_absolute_paths_and_uris(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert lake.absolute("a/b") == str(tmp_path / "a" / "b")
    assert lake.absolute("file:///a/b") == "/a/b"
    for name in ("a b", "50%", "a%20b", "what?", "c#d", "é ü"):
        assert lake.absolute((tmp_path / name).as_uri()) == str(tmp_path / name)
    assert lake.absolute("file://localhost/a/b") == "/a/b"
    with pytest.raises(UserError, match="names a host: give file:///path"):
        lake.absolute("file://host/a/b")
    assert lake.absolute("~/a") == str(Path.home() / "a")
    assert lake.absolute("s3://bucket/a/") == "s3://bucket/a"
    with pytest.raises(UserError, match=r"'s4' \(did you mean 's3'\?\)"):
        lake.absolute("s4://bucket/a")


def test_entries_have_sizes_and_times(place):
    before = time.time()
    lake.write_bytes(lake.join(place, "b", "2"), b"four")
    lake.write_bytes(lake.join(place, "a"), b"")
    assert [(e.name, e.size) for e in lake.list_entries(place)] == [("a", 0), ("b/2", 4)]
    # S3 has times in whole seconds.
    assert all(before - 1 <= e.modified <= time.time() for e in lake.list_entries(place))
    assert lake.list_entries(lake.join(place, "a")) == []
    assert lake.exists(lake.join(place, "b"))
    assert not lake.exists(lake.join(place, "b", "3"))


def test_only_links_to_files_are_listed(tmp_path):
    outside = tmp_path / "outside"
    lake.write_bytes(str(outside / "file"), b"12345")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "file").symlink_to(outside / "file")
    (inside / "folder").symlink_to(outside)
    (inside / "up").symlink_to(inside)
    (inside / "itself").symlink_to(inside / "itself")
    (inside / "nowhere").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(inside)
    assert [(e.name, e.size) for e in lake.list_entries(str(inside))] == [("file", 5)]
    assert lake.list_files(str(tmp_path / "link")) == ["file"]


def test_a_listing_of_many_pages(s3, tmp_path, monkeypatch):
    place = lake.join(s3, tmp_path.name)
    for number in range(7):
        lake.write_bytes(lake.join(place, str(number)), b"x")
    pages = []

    def by_threes(uri, method, **arguments):
        pages.append(arguments.get("ContinuationToken"))
        return ask(uri, method, **arguments, MaxKeys=3)

    ask = room._request
    monkeypatch.setattr(room, "_request", by_threes)
    assert lake.list_files(place) == list("0123456")
    assert len(set(pages)) == 3


def test_directory_marker_objects_are_not_listed(s3, tmp_path):
    for key in ("/", "/shards/", "/shards/a"):
        room._request(s3, "put_object", Bucket="bucket", Key=tmp_path.name + key, Body=b"")
    assert lake.list_files(lake.join(s3, tmp_path.name)) == ["shards/a"]


def test_a_local_copy(place):
    uri = lake.join(place, "video.mp4")
    lake.write_bytes(uri, b"frames")
    with lake.local_copy(uri) as path:
        assert path.name == "video.mp4"
        assert path.read_bytes() == b"frames"
        assert (str(path) == uri) == (not uri.startswith("s3://"))
    assert path.exists() == (not uri.startswith("s3://"))


def test_range_reads_in_threads(place):
    uri = lake.join(place, "data")
    data = random.Random(0).randbytes(100_000)
    lake.write_bytes(uri, data)

    def right(start):
        return lake.read_range(uri, start, 500) == data[start : start + 500]

    step = 2000 if place.startswith("s3://") else 7
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(right, range(0, 100_500, step)))
    finally:
        sys.setswitchinterval(interval)


def test_files_of_many_pieces(place, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_PIECE", 5 * 2**20)  # S3 takes no smaller parts
    data = random.Random(0).randbytes(11 * 2**20)
    local, back, uri = tmp_path / "local", tmp_path / "back", lake.join(place, "a.tar")
    local.write_bytes(data)
    lake.upload(local, uri)
    assert [(e.name, e.size) for e in lake.list_entries(place)] == [("a.tar", len(data))]
    lake.download(uri, back)
    assert back.read_bytes() == data
    assert lake.read_bytes(uri) == data


def test_pieces_of_two_object_versions_are_never_joined(s3, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_PIECE", 10)
    uri = lake.join(s3, tmp_path.name)
    room._request_object(uri, "put_object", Body=b"a" * 25)
    pieces = room.pieces(uri)
    next(pieces)
    room._request_object(uri, "put_object", Body=b"b" * 25)
    with pytest.raises(lake.TransientError, match="was replaced while it was read"):
        next(pieces)


def test_the_uploaded_size_is_verified(s3, tmp_path, monkeypatch):
    (tmp_path / "local").write_bytes(b"whole")
    monkeypatch.setattr(room, "_request", lambda *_, **__: {"ContentLength": 3})
    with pytest.raises(lake.TransientError, match="3 of 5 bytes arrived"):
        lake.upload(tmp_path / "local", lake.join(s3, tmp_path.name))


@pytest.mark.parametrize("write", ["create_bytes", "write_bytes", "upload"])
def test_bytes_are_synced_before_the_name(tmp_path, monkeypatch, write):
    happened = []

    def noting(name, call):
        def note(*args):
            happened.append(name)
            return call(*args)

        return note

    for thing, name in ((os, "fsync"), (os, "link"), (Path, "replace")):
        monkeypatch.setattr(thing, name, noting(name, getattr(thing, name)))
    WRITES[write](tmp_path / "out")
    # The bytes, the name of the file, and then the folder that holds the name.
    assert happened in (["fsync", "link", "fsync"], ["fsync", "replace", "fsync"])


def test_a_link_with_a_lost_answer_counts_as_created(tmp_path, monkeypatch):
    link = os.link

    def twice(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    lake.create_bytes(str(tmp_path / "a"), b"x")
    with pytest.raises(FileExistsError):
        lake.create_bytes(str(tmp_path / "a"), b"y")
    assert lake.read_bytes(str(tmp_path / "a")) == b"x"


@pytest.mark.parametrize("finished", [True, False])
def test_a_partial_file_removed_by_another_process(tmp_path, monkeypatch, finished):
    path = tmp_path / "a" / "manifest.json"

    def tidied(part, _target):
        Path(part).unlink()
        if finished:
            path.write_bytes(b"theirs")
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(os, "link", tidied)
    with pytest.raises(FileExistsError if finished else FileNotFoundError):
        lake.create_bytes(str(path), b"ours")


def test_partial_files_are_distinguished_from_files(tmp_path):
    for name in ("a/.b.json.0a1b2c3d.part", ".c.0a1b2c3d.part", "d.part", "e/.f.part", "g"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    found = [half.name for half in lake.list_partial_files(str(tmp_path))]
    assert found == [".c.0a1b2c3d.part", "a/.b.json.0a1b2c3d.part"]
    assert lake.list_partial_files("s3://anywhere/at/all") == []


def test_only_empty_folders_are_removed(tmp_path):
    for name in ("a/b/1", "a/2", "c/d/3"):
        lake.write_bytes(str(tmp_path / "v1" / name), b"x")
    lake.remove_files(str(tmp_path / "v1"), ["a/b/1", "c/d/3", "none"])
    assert sorted(p.name for p in (tmp_path / "v1").iterdir()) == ["a"]
    assert [p.name for p in (tmp_path / "v1" / "a").iterdir()] == ["2"]


def source(folder):
    folder.mkdir(exist_ok=True)
    (folder / "source").write_bytes(b"x" * 100_000)
    return folder / "source"


# Each function that writes to disk, given where to.
WRITES = {
    "create_bytes": lambda to: lake.create_bytes(str(to), b"x" * 100_000),
    "write_bytes": lambda to: lake.write_bytes(str(to), b"x" * 100_000),
    "upload": lambda to: lake.upload(source(Path(tempfile.mkdtemp())), str(to)),
    "download": lambda to: lake.download(str(source(Path(tempfile.mkdtemp()))), to),
}
NO_PLACE = "cannot be written .*: give a place you may write to"
NO_WAY = "cannot do what is needed .*: give another place, or s3://.*; data_pipeline/README.md says"
NO_ROOM = "the disk is full .*: free some space and run the same command again"


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory, monkeypatch):
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("scratch")))


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.EROFS, UserError, NO_PLACE),
        (errno.EACCES, UserError, NO_PLACE),
        (errno.EPERM, UserError, NO_PLACE),
        (errno.ENOSPC, lake.DiskFull, NO_ROOM),
        (errno.EDQUOT, lake.DiskFull, NO_ROOM),
        (errno.EIO, lake.TransientError, "does not answer properly"),
        (errno.ENOTCONN, lake.TransientError, "does not answer properly"),
        (errno.EBUSY, lake.TransientError, "does not answer properly"),
        (errno.ENOSYS, UserError, NO_WAY),
        (errno.EINVAL, UserError, NO_WAY),
    ],
)
def test_a_disk_that_refuses_writes_is_named(tmp_path, monkeypatch, write, number, kind, says):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(disk, "give_name", fail)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(kind, match=says) as found:
        WRITES[write](tmp_path / "d" / "out")
    assert "\n" not in str(found.value)
    assert list((tmp_path / "d").iterdir()) == []


@pytest.mark.parametrize("write", WRITES)
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path, write):
    (tmp_path / "file").write_bytes(b"")
    for name in ("file/out", "file/deeper/out"):
        with pytest.raises(UserError, match=NO_PLACE):
            WRITES[write](tmp_path / name)


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(UserError, match=NO_PLACE):
        lake.write_bytes(str(tmp_path), b"")


@pytest.mark.parametrize(
    ("options", "says"), [("size=64k", "DiskFull .*" + NO_ROOM), ("ro", "UserError .*" + NO_PLACE)]
)
def test_a_real_disk_that_refuses_writes_is_named(tmp_path, options, says):
    """On a separate file system, mounted in a namespace of the process under test."""
    code = (
        "import sys; from data_pipeline.storage import lake; to = sys.argv[1]\n"
        "try: lake.write_bytes(to + '/a/b', bytes(100_000))\n"
        "except Exception as error: print(type(error).__name__, error, lake.list_files(to))"
    )
    mount = f"mount -t tmpfs -o {options} tmpfs {tmp_path}"
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    if subprocess.run([*alone, mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no user mount a file system")
    script = f'{mount}; exec "$@"'
    said = subprocess.run(
        [*alone, script, "sh", sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(says + r" \[\]\n", said.stdout)


def test_read_errors_are_named(tmp_path, monkeypatch):
    with pytest.raises(lake.TransientError, match="does not answer properly"):
        lake.read_bytes("/proc/self/mem")  # its first page cannot be read: EIO

    def fail(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    for thing, name, call in (
        (Path, "open", lambda: lake.read_bytes(str(tmp_path / "a"))),
        (Path, "open", lambda: lake.upload(tmp_path / "a", str(tmp_path / "b"))),
        (Path, "stat", lambda: lake.read_range(str(tmp_path / "a"), 0, 1)),
        (Path, "stat", lambda: lake.exists(str(tmp_path / "a"))),
        (os, "scandir", lambda: lake.list_entries(str(tmp_path))),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(thing, name, fail)
            with pytest.raises(UserError, match=r"cannot be read \(Permission denied\): give"):
                call()


@pytest.fixture
def elsewhere(s3, monkeypatch):  # noqa: ARG001 (its variables are put back first)
    """Use S3 with other variables during a test; None unsets one."""

    def change(**variables):
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        room.client().clear_instance_cache()

    yield change
    monkeypatch.undo()
    room.client().clear_instance_cache()


# Each function that sends requests to S3.
ASKS = {
    "exists": lake.exists,
    "read_bytes": lake.read_bytes,
    "read_range": lambda uri: lake.read_range(uri, 0, 1),
    "list_files": lake.list_files,
    "create_bytes": lambda uri: lake.create_bytes(uri, b""),
    "write_bytes": lambda uri: lake.write_bytes(uri, b""),
    "remove": lake.remove,
}


@pytest.mark.parametrize("ask", ASKS)
def test_a_missing_bucket_is_named(s3, ask):  # noqa: ARG001 (asks that server)
    with pytest.raises(UserError, match="there is no bucket 'buckte': make it, or check the URI"):
        ASKS[ask]("s3://buckte/a")


@pytest.mark.parametrize("uri", ["s3://", "s3:///a"])
def test_a_uri_without_a_bucket_is_refused(uri):
    for ask in (lake.absolute, *ASKS.values()):
        with pytest.raises(UserError, match=r"names no bucket: give s3://bucket/key"):
            ask(uri)


@pytest.mark.parametrize("uri", ["s3:/bucket/a", "s3:bucket/a", "file:/a"])
def test_a_scheme_without_slashes_is_refused(uri):
    with pytest.raises(UserError, match=r"is no URI: give a path or s3://bucket/key"):
        lake.absolute(uri)


@pytest.mark.parametrize(
    ("variables", "kind", "says"),
    [
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            UserError,
            "no credentials for S3 .*: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": None},
            UserError,
            "no credentials for S3 .*: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        ({"AWS_ENDPOINT_URL": "localhost:1"}, UserError, "AWS_ENDPOINT_URL is as http://host:port"),
        (
            {"AWS_PROFILE": "nobody"},
            UserError,
            "nobody.*check the URI, AWS_DEFAULT_REGION and the other AWS_ variables",
        ),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            lake.TransientError,
            "Could not connect .*127.0.0.1:9/.*: check AWS_ENDPOINT_URL, AWS_DEFAULT_REGION",
        ),
    ],
)
@pytest.mark.parametrize("ask", ["exists", "create_bytes"])
def test_wrong_s3_settings_are_named(elsewhere, tmp_path, monkeypatch, ask, variables, kind, says):
    monkeypatch.setattr(room, "RETRY_TIMEOUT_S", 2.0)
    alone = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": str(tmp_path / "none")}
    alone["AWS_SHARED_CREDENTIALS_FILE"] = str(tmp_path / "none")
    elsewhere(**alone, **variables)
    with pytest.raises(kind, match=says) as found:
        ASKS[ask]("s3://bucket/a")
    assert "\n" not in str(found.value)


def test_no_request_outlasts_its_timeout(elsewhere, monkeypatch):
    """A server that accepts connections and then neither reads nor answers."""
    monkeypatch.setattr(room, "READ_TIMEOUT_S", 0.2)
    monkeypatch.setattr(room, "RETRY_TIMEOUT_S", 2.0)
    given = []

    def try_once(uri, method, arguments, seconds):
        given.append(seconds)
        return ask_once(uri, method, arguments, seconds)

    ask_once = room._try
    monkeypatch.setattr(room, "_try", try_once)
    with socket.create_server(("127.0.0.1", 0)) as server:
        elsewhere(AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(lake.TransientError, match=r"Read timeout|no answer in time"):
            lake.read_bytes("s3://bucket/a")
        assert given[0] == pytest.approx(room.RETRY_TIMEOUT_S, abs=0.1)
        given.clear()
        with lake.within(0.3), pytest.raises(lake.TransientError, match="no answer in time"):
            lake.write_bytes("s3://bucket/a", bytes(room._PIECE))
        assert given == [pytest.approx(0.3, abs=0.1)]


def test_a_place_where_no_folder_can_be_created_is_named():
    with pytest.raises(UserError, match="/proc/nothing/there cannot be written"):
        lake.write_bytes("/proc/nothing/there", b"x")
