"""Whole data sets: built by Ray, compared, checked."""

import contextlib
import json
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset

from data_pipeline import run
from data_pipeline.cli.command import UserError
from data_pipeline.format import manifest, sample
from data_pipeline.inspection.verify import verify
from data_pipeline.read.reader import DataSet
from tests.data_pipeline.conftest import LENGTHS
from tests.tiny import HEIGHT, WIDTH, shard_tiny, write_video

pytestmark = pytest.mark.usefixtures("ray_for_all")


def files_of(uri):
    root = Path(uri)
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def test_digest_does_not_depend_on_workers_or_location(built, videos, tmp_path):
    other = shard_tiny(tmp_path / "elsewhere", videos[::-1], masks=2, workers=2)
    assert other.digest == built.digest
    assert files_of(other.uri) == files_of(built.uri)
    for name in files_of(built.uri) - {manifest.MANIFEST}:
        assert (Path(other.uri) / name).read_bytes() == (Path(built.uri) / name).read_bytes()


def test_layout_and_manifest(built):
    root = Path(built.uri)
    names = files_of(root)
    assert {"manifest.json", "catalogue.parquet", "index/test-00000.parquet"} <= names
    made = manifest.load(str(root))
    assert set(made.payload) == names - {manifest.MANIFEST}
    assert made.digest == built.digest == manifest.digest_of(made.settings, made.payload)
    assert made.provenance["version"] == root.name
    assert str(root) not in json.dumps(dict(made.settings))
    shards = [name for name in names if name.endswith(".tar")]
    for name in shards:
        assert made.payload[name].sha256.startswith(name[-12:-4])
    rows = pq.read_table(root / "catalogue.parquet").to_pylist()
    assert {(r["id"], r["split"], r["frames"]) for r in rows} == {
        ("video-0", "test", 40),
        ("video-1", "train", 12),
        ("video-2", "train", 9),
    }
    assert (built.videos, built.frames, built.rejected) == (3, sum(LENGTHS), 0)


def test_tar_index_and_masks_agree(built):
    root = Path(built.uri)
    rows = {row["id"]: row for row in pq.read_table(root / "catalogue.parquet").to_pylist()}
    for name in (name for name in files_of(root) if name.startswith("index/")):
        for frame in pq.read_table(root / name).to_pylist():
            shard = (root / frame["shard"]).read_bytes()
            data = shard[frame["offset"] : frame["offset"] + frame["size"]]
            assert zlib.crc32(data) == frame["crc32"]
            with tarfile.open(root / frame["shard"]) as tar:
                member = tar.extractfile(sample.frame_member(frame["video"], frame["frame"]))
                assert member is not None
                assert member.read() == data
    row = rows["video-0"]
    shard = (root / row["shard"]).read_bytes()
    data = shard[row["masks_offset"] : row["masks_offset"] + row["masks_size"]]
    assert zlib.crc32(data) == row["masks_crc32"]
    assert sum(size for sizes in row["chunk_bytes"] for size in sizes) == len(data)


def test_any_webdataset_tool_reads_the_shards(built):
    # WebDataset's own opener leaves files open; the rest is its plain pipeline.
    with contextlib.ExitStack() as stack:
        sources = [
            {"url": str(path), "stream": stack.enter_context(path.open("rb"))}
            for path in sorted(Path(built.uri).glob("shards/*.tar"))
        ]
        members = webdataset.tariterators.tar_file_expander(sources)
        found = list(webdataset.tariterators.group_by_keys(members))
    assert sorted(s["__key__"] for s in found) == ["video-0", "video-1", "video-2"]
    for item in found:
        meta = json.loads(item["meta.json"])
        assert meta["id"] == item["__key__"]
        assert len([name for name in item if name.endswith(".jpg")]) == meta["frames"]
        assert sample.decode_frame(item["f00000.jpg"]).shape == (HEIGHT, WIDTH, 3)


def test_tar_members_have_fixed_metadata_and_order(built):
    (shard,) = Path(built.uri).glob("shards/test-*.tar")
    with tarfile.open(shard) as tar:
        members = tar.getmembers()
    assert [m.name for m in members[-3:]] == [
        "video-0.f00039.jpg",
        "video-0.masks.bits.zst",
        "video-0.meta.json",
    ]
    assert {(m.mtime, m.uid, m.gid, m.mode, m.uname, m.gname) for m in members} == {
        (0, 0, 0, 0o644, "", "")
    }


def test_verify_lists_every_difference(own, flip_byte, capsys):
    assert verify(own.uri).differences == ()
    assert run.main(["verify", own.uri]) == 0
    root = Path(own.uri)
    (shard,) = root.glob("shards/test-*.tar")
    flip_byte(shard, 100_000)
    (root / "index/train-00000.parquet").unlink()
    (root / "shards/stray.tar").write_bytes(b"x")
    with (root / "catalogue.parquet").open("ab") as file:
        file.write(b"x")
    found = verify(own.uri).differences
    assert len(found) == 4
    for words in (
        f"{shard.name}: content differs",
        "index/train-00000.parquet: missing",
        "shards/stray.tar: not in the manifest",
        " bytes, the manifest says ",
    ):
        assert any(words in line for line in found)
    capsys.readouterr()
    assert run.main(["verify", own.uri, "--json"]) == 1
    out, err = capsys.readouterr()
    assert len(json.loads(out.splitlines()[-1])["differences"]) == 4
    assert "differs from its manifest in 4 ways" in err


def test_verify_checks_the_manifest_itself(own):
    path = Path(own.uri) / manifest.MANIFEST
    value = json.loads(path.read_text())
    value["settings"]["seed"] = 5
    path.write_text(json.dumps(value))
    assert any("digest" in line for line in verify(own.uri).differences)


def test_rebuilding_the_same_data_set_does_nothing(own, videos, monkeypatch):
    before = {name: (Path(own.uri) / name).stat().st_mtime_ns for name in files_of(own.uri)}
    monkeypatch.setattr("data_pipeline.build.build.write_shard", None)  # nothing may be decoded
    again = shard_tiny(own.uri, videos, workers=2)
    assert again.already_there
    assert (again.digest, again.videos, again.frames) == (own.digest, own.videos, own.frames)
    after = {name: (Path(own.uri) / name).stat().st_mtime_ns for name in files_of(own.uri)}
    assert after == before


def test_partial_files_of_a_killed_writer_are_removed_by_the_next_build(own, videos):
    left = [
        Path(own.uri, folder, f".{name}.0a1b2c3d.part")
        for folder, name in (("_lease", "000000000002.json"), ("shards", "train-00009.tar"))
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    kept = Path(own.uri, "shards", ".of-somebody-else.part")
    kept.write_bytes(b"")
    assert shard_tiny(own.uri, videos).already_there
    assert not any(path.exists() for path in left)
    assert not left[0].parent.exists()
    assert kept.exists()


def test_other_content_under_the_same_name_is_refused(own, videos, tmp_path):
    with pytest.raises(UserError, match=r"other content \(seed: requested 1, found 0\)"):
        shard_tiny(own.uri, videos, seed=1)
    with pytest.raises(UserError, match="1 videos, the first is video-2"):
        shard_tiny(own.uri, videos[:2])
    with pytest.raises(UserError, match="2 videos, the first is video-0"):
        shard_tiny(own.uri, videos, held_out=["video-1"])
    other = write_video(tmp_path / "video-1.mp4", frames=12, seed=99)
    with pytest.raises(UserError, match="1 videos, the first is video-1"):
        shard_tiny(own.uri, [videos[0], other, videos[2]])


class InterruptedBuildError(Exception):
    """Ends a build just before its manifest."""


@pytest.fixture
def unfinished(tmp_path, videos, monkeypatch):
    """A data set that lacks only its manifest."""

    def stop(_uri, _made):
        raise InterruptedBuildError

    with monkeypatch.context() as patch:
        patch.setattr("data_pipeline.build.build.manifest.create", stop)
        with pytest.raises(InterruptedBuildError):
            shard_tiny(tmp_path / "v1", videos)
    assert not manifest.exists(str(tmp_path / "v1"))
    return tmp_path / "v1"


def times_of(root):
    return {path.name: path.stat().st_mtime_ns for path in root.glob("shards/*.tar")}


def test_an_interrupted_build_is_resumed(unfinished, own, videos):
    with pytest.raises(UserError, match=r"has no manifest\.json"):
        DataSet.open(str(unfinished))
    before = times_of(unfinished)
    (unfinished / "shards" / "train-00007-0123abcd.tar").write_bytes(b"of another plan")
    (unfinished / "shards" / ".train-00000-0123abcd.tar.77aa.part").write_bytes(b"half")
    again = shard_tiny(unfinished, videos)
    assert (again.digest, again.already_there) == (own.digest, False)
    assert verify(again.uri).differences == ()
    assert times_of(unfinished) == before
    assert not any(manifest.is_work(name) for name in files_of(again.uri))


def test_leftovers_of_an_interrupted_build_are_verified(unfinished, own, videos):
    before = times_of(unfinished)
    test, *train = sorted(unfinished.glob("shards/*.tar"))
    test.unlink()
    train[0].write_bytes(train[0].read_bytes()[:-512])
    again = shard_tiny(unfinished, videos)
    assert again.digest == own.digest
    assert verify(again.uri).differences == ()
    changed = {n for n, t in times_of(unfinished).items() if before[n] != t}
    assert changed == {test.name, train[0].name}


def test_an_interrupted_build_with_other_settings_starts_over(unfinished, videos, tmp_path):
    again = shard_tiny(unfinished, videos, seed=1)
    assert again.digest == shard_tiny(tmp_path / "v2", videos, seed=1).digest
    assert verify(again.uri).differences == ()


def test_foreign_files_are_left_alone(tmp_path, videos):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        shard_tiny(tmp_path, videos)
    assert files_of(tmp_path) == {"thesis.tex"}


@pytest.fixture(params=["noise", "short"])
def bad(request, tmp_path):
    path = write_video(tmp_path / "bad.mp4", frames=30, seed=5)
    data = bytearray(path.read_bytes())
    if request.param == "noise":
        start, end = data.index(b"mdat") + 4, data.index(b"moov")
        data[start + 800 : end - 4] = np.random.default_rng(0).bytes(end - 4 - start - 800)
    else:
        data = data[: len(data) // 2]
    path.write_bytes(data)
    return path


def test_too_many_bad_videos_fail_the_build(tmp_path, videos, bad, capsys):
    output = tmp_path / "lake" / "v1"
    inputs = [str(path) for path in [*videos, bad]]
    code = run.main(["shard", "--input", *inputs, "--output", str(output), "--held-out", "bad"])
    out, err = capsys.readouterr()
    assert code == 1
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("refused: 1 of 4 videos cannot be used (bad.mp4 ")
    assert "more than --max-rejected 0.01 allows: nothing was committed" in last
    assert not manifest.exists(str(output))
    # Finished shards are kept: a second build that allows the bad videos is quick.
    before = times_of(output)
    argv = ["shard", "--input", *inputs, "--output", str(output), "--held-out", "bad"]
    assert run.main([*argv, "--max-rejected", "0.25", "--json"]) == 0
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (value["videos"], value["rejected"]) == (3, 1)
    assert before.items() <= times_of(output).items()


def test_a_bad_video_is_in_the_catalogue_with_its_reason(tmp_path, videos, bad):
    one, two = (
        shard_tiny(tmp_path / name, [*videos, bad], max_rejected=0.3, workers=workers)
        for name, workers in (("a", 1), ("b", 2))
    )
    assert one.digest == two.digest
    assert (one.videos, one.rejected) == (3, 1)
    rows = pq.read_table(Path(one.uri) / "catalogue.parquet").to_pylist()
    (row,) = [row for row in rows if row["status"] == "rejected"]
    assert (row["id"], row["frames"], row["shard"]) == ("bad", 0, "")
    assert row["reason"]
    assert set(manifest.load(one.uri).provenance["rejected"]) == {"bad"}
    assert "bad" not in {
        video.id for split in ("train", "test") for video in DataSet.open(one.uri).videos(split)
    }
    assert verify(one.uri).differences == ()


def test_a_video_that_is_too_short_is_left_out(tmp_path, videos):
    built = shard_tiny(tmp_path / "v1", videos, min_frames=10, max_rejected=0.5)
    rows = pq.read_table(Path(built.uri) / "catalogue.parquet").to_pylist()
    reasons = {row["id"]: row["reason"] for row in rows if row["reason"]}
    assert reasons == {"video-2": "has 9 frames, fewer than 10"}


def test_parents_are_kept_with_their_digests(own, videos, tmp_path):
    child = shard_tiny(tmp_path / "v2", videos, seed=3, parents=(own.uri,))
    assert manifest.load(child.uri).provenance["parents"] == {own.uri: own.digest}
    with pytest.raises(UserError, match="no data set at"):
        shard_tiny(tmp_path / "v3", videos, parents=(str(tmp_path / "nowhere"),))


def test_json_output_of_shard(tmp_path, videos, capsys):
    argv = ["shard", "--input", str(videos[1]), "--output", str(tmp_path / "v1"), "--json"]
    argv += ["--width", "48", "--height", "32", "--moving", "1", "--static", "0"]
    assert run.main(argv) == 0
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(value) == {"digest", "uri", "videos", "frames", "bytes", "seconds", "rejected"}
    assert (value["videos"], value["frames"], value["rejected"]) == (1, 12, 0)
    assert value["uri"] == str(tmp_path / "v1")
