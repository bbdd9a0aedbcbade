"""Checkpoints written beside training, in one process; `test_parallel.py` has several."""

import os
import threading

import pytest
import torch

from data_pipeline.storage.lease import lease
from training.checkpoints import checkpoint
from training.checkpoints.checkpoint import NotOurs, NotWritten, weights_sha256
from training.checkpoints.saver import Saver


@pytest.fixture
def saver(tmp_path):
    with Saver(str(tmp_path), newest=9, every=0, leader=True) as saver:
        yield saver


def tensors(value):
    return {"weight": torch.full((3,), float(value))}


def test_changes_after_save_are_not_in_the_checkpoint(saver, tmp_path, monkeypatch):
    begin, write = threading.Event(), checkpoint.save

    def later(*args, **kwargs):
        begin.wait()
        return write(*args, **kwargs)

    monkeypatch.setattr(checkpoint, "save", later)
    changing = tensors(1)
    saver.save(4, changing, {})  # returns before anything is written
    assert checkpoint.newest(str(tmp_path))[0] is None
    changing["weight"].fill_(2)
    begin.set()
    saver.finish()
    loaded = tensors(0)
    checkpoint.newest(str(tmp_path))[0].load(loaded)
    assert weights_sha256(loaded) == weights_sha256(tensors(1))


def full_disk(monkeypatch):
    def no_room(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.lake, "upload", no_room)


def test_a_failed_checkpoint_write_is_reported_and_the_next_is_tried(
    saver, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as broken:
        full_disk(broken)
        saver.save(4, tensors(4), {})
        saver.save(8, tensors(8), {})
        saver._writing.exception()
    saver.save(12, tensors(12), {})
    saver.finish()
    assert checkpoint.newest(str(tmp_path))[0].clips == 12
    said = capsys.readouterr().out + capsys.readouterr().err
    assert said.count("No space left on device") == 2
    assert "rank 0" in said


def test_the_third_failure_in_a_row_and_the_last_checkpoint_end_the_run(saver, monkeypatch):
    with monkeypatch.context() as broken:
        full_disk(broken)
        for clips in (4, 8, 12):
            saver.save(clips, tensors(clips), {})
        with pytest.raises(NotWritten, match="clips-000000012"):
            saver.save(16, tensors(16), {})
        saver.save(20, tensors(20), {})
        with pytest.raises(NotWritten, match=r"clips-000000020 was not written .*No space left"):
            saver.finish()
    saver.save(24, tensors(24), {})
    saver.finish()


def test_retention_of_newest_periodic_and_best_checkpoints():
    none = dict.fromkeys(range(4, 44, 4))
    assert checkpoint.kept(none, 2, 0) == {36, 40}
    assert checkpoint.kept(none, 1, 10) == {12, 20, 32, 40}
    assert checkpoint.kept({**none, 8: 0.5, 16: 0.25}, 1, 0) == {16, 40}
    assert checkpoint.kept({4: None, 8: 0.5, 12: None}, 1, 0) == {8, 12}
    assert checkpoint.kept({}, 3, 10) == set()


def test_workers_write_nothing_after_the_driver_lost_its_lease(tmp_path, monkeypatch):
    lock = str(tmp_path / "lease")
    with lease(lock, what="run 'demo'") as held:
        claim = held.claim()
        with Saver(str(tmp_path), newest=9, every=0, leader=True, claim=claim) as saver:
            saver.save(4, tensors(4), {})
            saver.finish()
    with lease(lock, what="run 'demo'"):
        monkeypatch.setattr(checkpoint.lake, "upload", None)  # is not even called
        with Saver(str(tmp_path), newest=9, every=0, leader=True, claim=claim) as saver:
            saver.save(8, tensors(8), {})
            says = rf"clips-000000008 .*run 'demo' was taken over by process {os.getpid()}"
            with pytest.raises(NotOurs, match=says):
                saver.save(12, tensors(12), {})
    assert list(checkpoint.complete(str(tmp_path))) == [4]
