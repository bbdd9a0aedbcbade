import time

from data_pipeline.cli import progress as module
from data_pipeline.cli.progress import progress


def test_progress_is_plain_lines_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)
    with progress("shard", 3, "videos") as shown:
        time.sleep(0.02)
        shown.advance(2, "1.5 MB")
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("shard: 2/3 videos, ")
    assert lines[0].endswith(", ETA 0 s, 1.5 MB")


def test_quick_work_prints_little_progress(capsys):
    with progress("look", 100, "videos") as shown:
        for _ in range(100):
            shown.advance()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_work_of_an_earlier_run_does_not_count_for_speed(capsys):
    with progress("train", 1000, "clips", start=900) as shown:
        shown.at(900)
    assert "train: 900/1000 clips, 0.0 clips/s" in capsys.readouterr().err


def test_durations_are_human_readable():
    assert [module._time(s) for s in (4, 185, 7390)] == ["4 s", "3:05 min", "2:03:10 h"]
