"""Checkpoints of one process, on disk and on S3. `test_parallel.py` writes them by two."""

import io
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from data_pipeline.cli.command import UserError
from data_pipeline.storage import lake
from tests.loopback import bucket_on_s3
from training.checkpoints import checkpoint
from training.checkpoints.checkpoint import weights_sha256

STATE = {"config": {"name": "sttn"}, "run_id": "abc"}


def tensors(seed):
    random = torch.Generator().manual_seed(seed)
    return {
        "generator.weight": torch.randn(3, 5, generator=random),
        "generator.bias": torch.randn(7, generator=random, dtype=torch.float64),
        "generator_adam.exp_avg.weight": torch.randn(2, 3, 1, 4, generator=random),
    }


def empty():
    return {name: torch.full_like(value, torch.nan) for name, value in tensors(0).items()}


def save(run, clips):
    return Path(checkpoint.save(str(run), clips, tensors(clips), STATE))


def loaded(found):
    into = empty()
    found.load(into)
    return into


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name


def shard_of(uri):
    (shard,) = Path(uri).glob("*.safetensors")
    return shard


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_checkpoint_round_trips(tmp_path):
    uri = save(tmp_path, 400)
    assert uri == tmp_path / "checkpoints" / "clips-000000400"
    found, passed_over = checkpoint.newest(str(tmp_path))
    assert passed_over == []
    assert (found.uri, found.clips) == (str(uri), 400)
    assert found.state() == {**STATE, "clips": 400}
    assert found.problem() is None
    assert_same(loaded(found), tensors(400))


def test_some_tensors_of_a_checkpoint_can_be_loaded_alone(tmp_path):
    found = checkpoint.opened(str(save(tmp_path, 4)))
    part = {"generator.bias": empty()["generator.bias"]}
    found.load(part)
    assert torch.equal(part["generator.bias"], tensors(4)["generator.bias"])


@pytest.fixture
def bucket():
    with bucket_on_s3("checkpoints") as uri:
        yield uri


def test_a_checkpoint_on_s3(bucket):
    run = f"{bucket}/runs/demo"
    for clips in (4, 8):
        uri = checkpoint.save(run, clips, tensors(clips), STATE)
    found, _ = checkpoint.newest(run)
    assert found.clips == 8
    assert_same(loaded(found), tensors(8))
    lake.remove(lake.join(uri, shard_of_s3(uri)))
    found, (line,) = checkpoint.newest(run)
    assert found.clips == 4
    assert "is missing" in line


def shard_of_s3(uri):
    (shard,) = (name for name in lake.list_files(uri) if name.endswith(".safetensors"))
    return shard


def test_nothing_is_pickled(tmp_path, monkeypatch):
    uri = save(tmp_path, 4)
    names = {path.name for path in uri.iterdir()}
    assert {"manifest.json", "state.json"} < names
    for path in uri.iterdir():
        if path.suffix == ".json":
            json.loads(path.read_text())
        else:
            assert path.suffix == ".safetensors"
            with safe_open(path, framework="pt") as file:
                assert set(file.keys()) == set(tensors(4))

    def refuse(*_args, **_kwargs):
        raise AssertionError("something was unpickled")

    for owner, name in (
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (torch, "load"),
    ):
        monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(AssertionError, match="unpickled"):
        pickle.load(io.BytesIO())
    assert_same(loaded(checkpoint.newest(str(tmp_path))[0]), tensors(4))


DAMAGE = {
    "a byte of a shard flipped": (lambda uri: flip(shard_of(uri), -3), "shard"),
    "a byte of a shard's header flipped": (lambda uri: flip(shard_of(uri), 12), "shard"),
    "a byte of the state flipped": (lambda uri: flip(uri / "state.json", 5), "state.json"),
    "a shard cut short": (
        lambda uri: shard_of(uri).write_bytes(shard_of(uri).read_bytes()[:-1]),
        "shard",
    ),
    "an empty shard": (lambda uri: shard_of(uri).write_bytes(b""), "shard"),
    "a shard missing": (lambda uri: shard_of(uri).unlink(), "shard"),
    "the state missing": (lambda uri: (uri / "state.json").unlink(), "state.json"),
    "the manifest missing": (lambda uri: (uri / "manifest.json").unlink(), "manifest.json"),
    "the manifest cut short": (
        lambda uri: (uri / "manifest.json").write_bytes((uri / "manifest.json").read_bytes()[:-9]),
        "manifest.json",
    ),
    "an empty manifest": (lambda uri: (uri / "manifest.json").write_bytes(b""), "manifest.json"),
    "a manifest that is no object": (
        lambda uri: (uri / "manifest.json").write_bytes(b"[1]"),
        "manifest.json",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_previous_one_is_used(tmp_path, kind):
    damage, file = DAMAGE[kind]
    save(tmp_path, 4)
    damaged = save(tmp_path, 8)
    damage(damaged)
    found, (line,) = checkpoint.newest(str(tmp_path))
    assert found.clips == 4
    assert "clips-000000008" in line
    assert file in line
    assert_same(loaded(found), tensors(4))


def test_any_flipped_bit_of_a_manifest_is_detected(tmp_path):
    save(tmp_path, 4)
    manifest = save(tmp_path, 8) / "manifest.json"
    good = manifest.read_bytes()
    for offset in range(len(good)):
        for bit in (1, 4, 32):
            manifest.write_bytes(good[:offset] + bytes([good[offset] ^ bit]) + good[offset + 1 :])
            found, passed_over = checkpoint.newest(str(tmp_path))
            where = f"bit {bit} of byte {offset} of {good!r}"
            assert found.clips == 4, where
            assert "clips-000000008" in passed_over[0], where


def test_newest_is_none_when_no_checkpoint_is_good(tmp_path):
    assert checkpoint.newest(str(tmp_path)) == (None, [])
    for clips in (4, 8):
        (save(tmp_path, clips) / "state.json").unlink()
    found, passed_over = checkpoint.newest(str(tmp_path))
    assert found is None
    assert len(passed_over) == 2


def test_leftovers_of_a_killed_writer_are_not_loaded(tmp_path):
    """Eight processes wrote shards and died; one wrote the same checkpoint after that."""
    left = shard_of(checkpoint.save(str(tmp_path), 4, tensors(1), STATE))
    for rank in range(1, 9):
        shutil.copyfile(left, left.with_name(f"shard-{rank:05d}-model-00008-of-00008.safetensors"))
    left.unlink()
    (left.parent / "manifest.json").unlink()
    save(tmp_path, 4)
    found, passed_over = checkpoint.newest(str(tmp_path))
    assert passed_over == []
    assert_same(loaded(found), tensors(4))


def test_opening_a_folder_that_is_no_checkpoint_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"it has no manifest\.json"):
        checkpoint.opened(str(tmp_path / "nowhere"))
    uri = save(tmp_path, 4)
    document = json.loads((uri / "manifest.json").read_text())
    (uri / "manifest.json").write_text(json.dumps({**document, "schema": 99}))
    with pytest.raises(UserError, match="schema 99"):
        checkpoint.opened(str(uri))


def test_pruning_keeps_the_newest(tmp_path):
    for clips in (4, 12, 8, 1000, 16):
        save(tmp_path, clips)
    checkpoint.prune(str(tmp_path), 2)
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left == ["clips-000000016", "clips-000001000"]
    assert_same(loaded(checkpoint.newest(str(tmp_path))[0]), tensors(1000))
    checkpoint.prune(str(tmp_path), 2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == left


# Folders that users and programs leave beside checkpoints, made from the newest one.
FOREIGN = {
    "clips-000000008.bak": shutil.copytree,
    "clips-000000008 (copy)": shutil.copytree,
    "clips-8": shutil.copytree,
    "clips-0000000008": shutil.copytree,
    "clips-+00000008": shutil.copytree,
    "clips-00000000٨": shutil.copytree,
    "clips-": shutil.copytree,
    "clips-99999999": shutil.copytree,
    "clips-000000099": shutil.copytree,  # with the name of a checkpoint of other clips
    "clips-000000098": lambda _, to: to.write_bytes(b"a file"),
    "old": lambda made, to: shutil.copytree(made, to / "clips-000000008"),
    ".DS_Store": lambda _, to: to.write_bytes(b"a file"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_folders_that_only_look_like_checkpoints_are_not_pruned(tmp_path, name):
    for clips in (4, 8):
        made = save(tmp_path, clips)
    foreign = made.with_name(name)
    FOREIGN[name](made, foreign)
    found, passed_over = checkpoint.newest(str(tmp_path))
    assert found.uri == str(made)
    assert [str(foreign) in line for line in passed_over] == [True] * name.startswith("clips-")
    save(tmp_path, 12)  # as the same command resumes, and prunes
    checkpoint.prune(str(tmp_path), 1)
    assert {path.name for path in made.parent.iterdir()} == {name, "clips-000000012"}
    assert foreign.is_file() or list(foreign.rglob("manifest.json"))


def test_checkpoints_are_ordered_numerically_by_clips(tmp_path):
    for clips in (999_999_999, 1_000_000_000):
        save(tmp_path, clips)
    assert checkpoint.newest(str(tmp_path))[0].clips == 1_000_000_000


def test_pruning_keeps_a_checkpoint_being_written(tmp_path):
    for clips in (4, 8, 12):
        save(tmp_path, clips)
    (tmp_path / "checkpoints" / "clips-000000012" / "manifest.json").unlink()
    checkpoint.prune(str(tmp_path), 1)
    left = {path.parent.name for path in tmp_path.rglob("*.safetensors")}
    assert left == {"clips-000000008", "clips-000000012"}


def test_the_weights_hash_depends_on_names_types_shapes_and_values():
    value = torch.arange(6.0)
    known = {weights_sha256({"a": value, "b": value})}
    assert weights_sha256({"b": value, "a": value.clone()}) in known
    for other in (
        {"a": value, "c": value},
        {"a": value},
        {"a": value, "b": value.double()},
        {"a": value, "b": value.reshape(2, 3)},
        {"a": value, "b": value.flip(0)},
    ):
        assert weights_sha256(other) not in known
        known.add(weights_sha256(other))
    square = torch.arange(4.0).reshape(2, 2)
    assert weights_sha256({"a": square.T}) == weights_sha256({"a": square.T.contiguous()})
