"""File systems that lack some calls: gcsfuse, s3fs, SMB, exFAT, FUSE of any kind.

`refusing.c` refuses the lacking calls to whole processes; the real file system does the rest.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from data_pipeline.cli.command import UserError
from data_pipeline.storage import exclusive, lake
from tests.tiny import write_videos

LACKING = {
    "hard links": "link",
    "hard links, and renames that do not replace": "link renameat2",
    "hard links, symbolic links, flushing of folders": "link symlink fsync-folder",
    "hard links, such renames, flushing of folders, locks, times": (
        "link renameat2 fsync-folder flock utime"
    ),
}
NEITHER = "link renameat2 symlink"
COMPILER = shutil.which("cc")

pytestmark = [
    pytest.mark.waits, pytest.mark.skipif(COMPILER is None, reason="needs a C compiler"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    built = tmp_path_factory.mktemp("shim") / "refusing.so"
    source = Path(__file__).with_name("refusing.c")
    subprocess.run(
        [str(COMPILER), "-shared", "-fPIC", "-O1", "-o", built, source, "-ldl"], check=True
    )
    return built


@pytest.fixture
def process(shim, tmp_path):
    """Start Python with refused system calls."""

    def start(refused, *arguments, number=errno.EOPNOTSUPP):
        environment = {
            **os.environ,
            "TMPDIR": temporary,
            "LD_PRELOAD": str(shim),
            "REFUSED": f" {refused} ",
            "REFUSED_WITH": str(number),
        }
        one = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(one)
        return one

    running = []
    # Without locks a process cannot keep others from sweeping its temporary folders; and `tmp_path`
    # is too long for Ray's sockets.
    with tempfile.TemporaryDirectory(prefix="fs-") as temporary:
        yield start
        for one in running:
            one.kill()
            one.communicate()


def output_of(running, code=0):
    out, err = running.communicate(timeout=120)
    assert running.returncode == code, err
    return out if code == 0 else err


TWICE = """
import sys
from data_pipeline.storage import exclusive, lake
lake.create_bytes(sys.argv[1], b"first" * 1000)
try: lake.create_bytes(sys.argv[1], b"second")
except FileExistsError: print("there already")
lake.write_bytes(sys.argv[1] + ".other", b"one")
lake.write_bytes(sys.argv[1] + ".other", b"other")
print(lake.list_files(sys.argv[2]), lake.list_partial_files(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("lacking", "number"),
    [
        *((lacking, errno.EOPNOTSUPP) for lacking in LACKING),
        *(("hard links", number) for number in (errno.EPERM, errno.ENOSYS, errno.EMLINK)),
    ],
)
def test_a_file_is_created_once_on_any_limited_file_system(process, tmp_path, lacking, number):
    path = tmp_path / "lake" / "manifest.json"
    running = process(LACKING[lacking], "-c", TWICE, path, path.parent, number=number)
    assert output_of(running) == "there already\n['manifest.json', 'manifest.json.other'] []\n"
    assert path.read_bytes() == b"first" * 1000
    assert not path.is_symlink()
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name, f"{path.name}.other"]


RACE = """
import json, sys, time
from data_pipeline.storage import exclusive, lake
folder, name = sys.argv[1:]
won, seen = [], set()
print("ready", flush=True)
sys.stdin.readline()
for number in range(60):
    path = f"{folder}/{number:03d}"
    try:
        lake.create_bytes(path, name.encode() * 50_000)
        won.append(number)
    except FileExistsError:
        pass
    # Whoever won: it is there, whole, and stays as it is.
    content = lake.read_bytes(path)
    assert content in (one.encode() * 50_000 for one in "abcd"), len(content)
    seen.add((number, content[:1].decode()))
print(json.dumps([won, sorted(seen)]))
"""


@pytest.mark.parametrize("lacking", LACKING)
def test_one_of_several_writers_wins_and_no_partial_file_is_seen(process, tmp_path, lacking):
    folder = tmp_path / "race"
    running = [process(LACKING[lacking], "-c", RACE, folder, name) for name in "abcd"]
    assert [one.stdout.readline() for one in running] == ["ready\n"] * 4
    for one in running:
        one.stdin.write("go\n")
        one.stdin.flush()
    results = [json.loads(output_of(one)) for one in running]
    won = sorted(number for numbers, _ in results for number in numbers)
    assert won == list(range(60))
    assert all(seen == results[0][1] for _, seen in results)
    assert not [one for one in folder.iterdir() if one.is_symlink() or one.suffix == ".part"]


COMMAND = "from data_pipeline.run import main; import sys; sys.exit(main(sys.argv[1:]))"


def test_a_file_system_without_any_exclusive_create_is_one_line(process, tmp_path):
    videos = write_videos(tmp_path / "videos", (12,))
    shard = ["shard", "--input", videos[0], "--output", tmp_path / "out", "--workers", "1"]
    said = output_of(process(NEITHER, "-c", COMMAND, *shard), 2)
    assert "Traceback" not in said
    assert (
        "has no hard links, no renames that do not replace and no symbolic" in said.splitlines()[-1]
    )
    assert said.endswith("data_pipeline/README.md says what storage must be able to do\n")
    assert [one for one in (tmp_path / "out").rglob("*") if one.is_file() or one.is_symlink()] == []


def test_a_data_set_is_built_verified_and_listed_on_a_limited_file_system(process, tmp_path):
    (video,) = write_videos(tmp_path / "videos", (12,))
    lacking = LACKING["hard links, such renames, flushing of folders, locks, times"]
    out = tmp_path / "lake" / "tiny" / "v1"
    size = ["--width", "96", "--height", "96", "--static", "1", "--moving", "1"]
    shard = ["shard", "--input", video, "--output", out, "--workers", "1", *size]
    output_of(process(lacking, "-c", COMMAND, *shard))
    assert "already" in output_of(process(lacking, "-c", COMMAND, *shard))
    output_of(process(lacking, "-c", COMMAND, "verify", out))
    listed = output_of(process(lacking, "-c", COMMAND, "list", tmp_path / "lake", "--json"))
    (one,) = json.loads(listed.splitlines()[-1])["data_sets"]
    assert one["state"] == "ready"
    assert not [path for path in out.rglob("*") if path.is_symlink() or path.suffix == ".part"]


HOLDING = """
import sys
from data_pipeline.storage.lease import Held, lease
try:
    with lease(sys.argv[1], what="x", seconds=3.0) as held:
        print("held", flush=True)
        sys.stdin.readline()
        held.check()
except Held: print("by another", flush=True)
"""


@pytest.mark.parametrize("lacking", LACKING)
def test_a_lease_has_one_holder_at_a_time(process, tmp_path, lacking):
    first, *others = (process(LACKING[lacking], "-c", HOLDING, tmp_path / "x") for _ in range(3))
    lines = sorted([first.stdout.readline(), *(one.stdout.readline() for one in others)])
    assert lines == ["by another\n", "by another\n", "held\n"]
    assert all(output_of(one) == "" for one in (first, *others))
    after = process(LACKING[lacking], "-c", HOLDING, tmp_path / "x")
    assert after.communicate("\n", timeout=60)[0] == "held\n"
    assert [one for one in (tmp_path / "x").iterdir() if one.is_symlink()] == []


def test_a_checkpoint_is_written_and_read_on_a_limited_file_system(process, tmp_path):
    code = """
import sys, torch
from training.checkpoints import checkpoint
for clips in (4, 8): checkpoint.save(sys.argv[1], clips, {"a": torch.ones(3)}, {})
checkpoint.prune(sys.argv[1], 1)
found, passed_over = checkpoint.newest(sys.argv[1])
tensors = {"a": torch.zeros(3)}
found.load(tensors)
print(found.clips, passed_over, tensors["a"].tolist())
"""
    said = output_of(
        process("link symlink renameat2 fsync-folder utime", "-c", code, tmp_path / "run")
    )
    assert said == "8 [] [1.0, 1.0, 1.0]\n"


def only_symbolic_links(monkeypatch):
    def never(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", never)
    monkeypatch.setattr(exclusive, "_by_rename", never)


def test_a_process_killed_between_the_two_steps_has_created_the_file(tmp_path, monkeypatch):
    only_symbolic_links(monkeypatch)
    path = tmp_path / "manifest.json"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            lake.create_bytes(str(path), b"first")
    assert path.is_symlink()
    assert lake.read_bytes(str(path)) == b"first"
    assert lake.list_files(str(tmp_path)) == ["manifest.json"]
    assert (
        lake.list_partial_files(str(tmp_path)) == []
    )  # the target of a name must not be removed as a leftover
    with pytest.raises(FileExistsError):
        lake.create_bytes(str(path), b"second")
    lake.write_bytes(str(path), b"other")
    assert lake.read_bytes(str(path)) == b"other"
    (left,) = lake.list_partial_files(str(tmp_path))
    lake.remove(str(tmp_path / left.name))
    assert [one.name for one in tmp_path.iterdir()] == ["manifest.json"]


def killed(*_):
    raise KeyboardInterrupt


def test_a_partial_file_removed_before_its_link_leaves_nothing(tmp_path, monkeypatch):
    only_symbolic_links(monkeypatch)
    link = Path.symlink_to

    def tidied(target, name):
        (tmp_path / name).unlink()
        link(target, name)

    monkeypatch.setattr(Path, "symlink_to", tidied)
    with pytest.raises(FileNotFoundError):
        lake.create_bytes(str(tmp_path / "a"), b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_dangling_link_as_name_is_reported(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="a is a broken link: delete it"):
        lake.create_bytes(str(tmp_path / "a"), b"x")


CACHED = """
import hashlib, sys
from pathlib import Path
from data_pipeline.read.cache import NodeCache
data = b"shard" * 1000
cache, sha256 = NodeCache(Path(sys.argv[2]), 10**6), hashlib.sha256(data).hexdigest()
for _ in range(2): cache.path(sys.argv[1], sha256, len(data))
print("kept")
"""


def test_a_cache_works_without_utime_and_reports_missing_locks(process, tmp_path):
    source, cache = tmp_path / "shard.tar", tmp_path / "cache"
    source.write_bytes(b"shard" * 1000)
    assert output_of(process("utime", "-c", CACHED, source, cache, number=errno.EPERM)) == "kept\n"
    said = output_of(
        process("flock", "-c", CACHED, source, tmp_path / "other", number=errno.ENOLCK), 1
    )
    assert f"the cache {tmp_path / 'other'} cannot be written (No locks available)" in said
    assert "set STTN_CACHE to a folder that can" in said


def test_a_read_through_a_stale_link_is_retried(tmp_path):
    """Other machines, and FUSE's cache of names, may show a stale link for a moment."""
    path, whole = tmp_path / "in" / "a", tmp_path / "whole"
    path.parent.mkdir()
    asks = {
        "exists": (lake.exists, True),
        "read_bytes": (lake.read_bytes, b"whole"),
        "read_range": (lambda uri: lake.read_range(uri, 1, 3), b"hol"),
        "list_files": (lambda _: lake.list_files(str(tmp_path / "in")), ["a"]),
    }
    for name, (ask, found) in asks.items():
        whole.write_bytes(b"whole")
        path.unlink(missing_ok=True)
        path.symlink_to(
            ".a.0a1b2c3d.part"
        )  # its target has moved, and the new name is not visible yet
        later = threading.Timer(0.2, whole.replace, (path,))
        later.start()
        assert ask(str(path)) == found, name
        later.join()
    path.unlink()
    path.symlink_to("nowhere")
    assert not lake.exists(str(path))  # at once: not a link of ours
