import io
import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_pipeline.reader import DataSet, read_clip
from mlops import evaluate, metrics, names, registry, results, scoring, tracking
from tests.mlops import foreign

SHORT = ("--clips-per-video", "2", "--frames-per-clip", "5", "--workers", "1")
PROTOCOL = results.Protocol("test", 2, 5)


def _evaluate(uri, data, *more):
    return evaluate.main(["--tracking-uri", uri, "--data", data, *SHORT, *more])


def _runs(uri):
    kind = f"tags.kind = '{names.KIND_EVALUATION}'"
    return tracking.client(uri).search_runs([tracking.experiment_id(uri)], kind)


def _expected(data, fill):
    """Mean hole PSNR over the fixed clips, from the metric's definition."""
    data_set = DataSet.open(data)
    (video,) = data_set.videos("test")
    per_clip = []
    for clip in scoring.fixed_clips(data_set, PROTOCOL):
        frames, masks = read_clip(data_set, video, clip)
        values = [
            metrics.hole_psnr_db(frame, fill(frame, mask), mask)
            for frame, mask in zip(frames, masks, strict=True)
        ]
        per_clip.append(np.nanmean(values))
    return float(np.mean(per_clip))


def _constant(value):
    return lambda frame, mask: np.where(mask[..., None] != 0, np.uint8(value), frame)


def test_a_model_without_a_champion_is_scored_once(store, tmp_path, data_set, capfd):
    version = foreign.register(store, tmp_path / "model", size=(96, 96))
    assert _evaluate(store, data_set, "--json") == 0
    first = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (first["version"], first["against"], first["already"]) == ("1", None, False)

    found = results.read(store, first["run"])
    assert found.means["candidate/hole_psnr_db"] == pytest.approx(
        _expected(data_set, _constant(128))
    )
    assert found.means["trivial_frame_mean/hole_psnr_db"] == pytest.approx(
        _expected(data_set, metrics.fill_with_frame_mean)
    )
    assert found.means["trivial_ring_mean/hole_psnr_db"] == pytest.approx(
        _expected(data_set, metrics.fill_with_ring_mean)
    )
    assert len(found.scores) == 3 * 2
    assert found.data_digest == DataSet.open(data_set).digest

    tags = registry.resolve(store, version.uri).tags
    assert tags[names.EVALUATION] == names.EVALUATION_DONE
    assert tags[names.EVALUATION_RUN] == first["run"]
    files = {file.path for file in tracking.client(store).list_artifacts(first["run"])}
    assert files == {names.RESULTS_JSON, names.RESULTS_PARQUET, names.STRIP}

    assert _evaluate(store, data_set, "--json") == 0
    out, err = capfd.readouterr()
    again = json.loads(out.splitlines()[-1])
    assert (again["run"], again["already"]) == (first["run"], True)
    assert "was already evaluated" in out
    assert err == ""
    assert len(_runs(store)) == 1


def test_versions_whose_code_differs_run_their_own_code(store, tmp_path, data_set, capfd):
    # Both have their code in a module of the same name.
    champion = foreign.register(store, tmp_path / "one", foreign.BLACK)
    registry.set_alias(store, champion, names.CHAMPION)
    foreign.register(store, tmp_path / "two", foreign.GREY)
    assert _evaluate(store, data_set) == 0
    out, err = capfd.readouterr()
    for line in err.splitlines():
        assert line.startswith("score models:/sttn/"), err  # nothing of Ray's or MLflow's
    assert out.startswith("models:/sttn/2 is evaluated")
    (run,) = _runs(store)
    found = results.read(store, run.info.run_id)
    assert (found.version, found.against) == ("2", "1")
    grey, black = _expected(data_set, _constant(128)), _expected(data_set, _constant(0))
    assert abs(grey - black) > 1
    assert found.means["candidate/hole_psnr_db"] == pytest.approx(grey)
    assert found.means["champion/hole_psnr_db"] == pytest.approx(black)
    ours, theirs = zip(*found.hole_pairs(), strict=True)
    assert (np.mean(ours), np.mean(theirs)) == (pytest.approx(grey), pytest.approx(black))


def test_the_champion_keeps_the_evaluation_that_made_it_champion(store, tmp_path, data_set, capfd):
    foreign.register(store, tmp_path / "one")
    version = foreign.register(store, tmp_path / "two")
    run_id = foreign.record_evaluation(
        store, version, tmp_path / "results", "1",
        candidate=15, champion=14, trivial_frame_mean=12, trivial_ring_mean=13,
    )  # fmt: skip
    what = {
        names.DATA_DIGEST: DataSet.open(data_set).digest,
        names.PROTOCOL_DIGEST: PROTOCOL.digest(),
    }
    tracking.set_run_tags(store, run_id, what)
    registry.set_alias(store, version, names.CHAMPION)
    assert _evaluate(store, data_set) == 0
    assert f"models:/sttn/2 was already evaluated: run {run_id}" in capfd.readouterr().out
    assert len(_runs(store)) == 1


def test_a_model_that_fails_is_refused_in_one_line(store, tmp_path, data_set, capfd):
    version = foreign.register(store, tmp_path / "model", foreign.BROKEN)
    assert _evaluate(store, data_set) == 1
    err = capfd.readouterr().err.splitlines()
    assert "could not be scored: RuntimeError: the model fell over" in err[-1]
    assert all(line.startswith("score models:/") for line in err[:-1]), err
    assert names.EVALUATION_RUN not in registry.resolve(store, version.uri).tags
    assert [run.info.status for run in _runs(store)] == ["FAILED"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "models:/sttn@best"], "aliases: candidate = version 1"),
        (["--against", "models:/sttn/9"], "models:/sttn/9 is not in the registry"),
        (["--split", "tset"], "has no split 'tset' (did you mean 'test'?)"),
        (["--frames-per-clip", "50"], "clips of 50 frames were asked for, but video"),
        (["--data", "/nowhere"], "no data set at /nowhere"),
        (["--clips-per-video", "0"], "--clips-per-video is 0: give at least 1"),
        (["--workerz", "2"], "unknown flag --workerz (did you mean '--workers'?)"),
    ],
)
def test_mistakes_are_one_line_and_make_no_run(store, tmp_path, data_set, capfd, more, said):
    foreign.register(store, tmp_path / "model")
    assert _evaluate(store, data_set, *more) == 2
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert _runs(store) == []


def test_a_data_set_of_another_size_is_a_mistake(store, tmp_path, data_set, capfd):
    foreign.register(store, tmp_path / "model", size=(432, 240))
    assert _evaluate(store, data_set) == 2
    assert "was trained at 432x240, the data set" in capfd.readouterr().err


def test_missing_uris_are_named_with_their_variables(monkeypatch, capsys):
    monkeypatch.delenv("STTN_DATA", raising=False)
    assert evaluate.main(["--tracking-uri", "sqlite:///x.db"]) == 2
    assert "--data is missing: give it, or set STTN_DATA" in capsys.readouterr().err


def test_results_come_back_as_they_were_written(tmp_path):
    row = dict.fromkeys(("psnr_db", "ssim", "hole_ssim", "hole_share", "seconds_per_frame_s"), 0.5)
    scores = [
        results.ClipScore(
            subject="candidate", position=i, video="v", first_frame=0, frames=5, variant=0,
            mask_kind="moving", hole_psnr_db=value, **row,
        )
        for i, value in enumerate((10.0, math.nan, 13.0))
    ]  # fmt: skip
    assert results.means(scores)["candidate/hole_psnr_db"] == 11.5
    results.write(tmp_path, scores, {"model_version": "1"})
    back = [
        results.ClipScore(**row) for row in pq.read_table(tmp_path / "results.parquet").to_pylist()
    ]
    assert [one.hole_psnr_db for one in (back[0], back[2])] == [10.0, 13.0]
    assert math.isnan(back[1].hole_psnr_db)
    said = json.loads((tmp_path / "results.json").read_text())
    assert said["means"]["candidate/hole_psnr_db"] == 11.5


def test_equal_frames_count_as_a_hundred_decibels():
    frames = np.full((2, 70, 70, 3), 9, np.uint8)
    masks = np.zeros((2, 70, 70), np.uint8)
    masks[0, :9, :9] = 1  # the second frame has no hole
    assert scoring.frame_means(frames, frames, masks) == {
        "psnr_db": 100.0,
        "ssim": pytest.approx(1.0),
        "hole_psnr_db": 100.0,
        "hole_ssim": pytest.approx(1.0),
    }


def test_a_strip_shows_input_hole_result_and_truth():
    frames = np.full((9, 8, 10, 3), 200, np.uint8)
    masks = np.zeros((9, 8, 10), np.uint8)
    masks[:, 2:4] = 1
    filled = np.where(masks[..., None] != 0, np.uint8(50), frames)
    picture = np.asarray(Image.open(io.BytesIO(scoring.strip(frames, masks, filled))))
    assert picture.shape == (4 * 8, 4 * 10, 3)
    tinted, grey, result, truth = picture.reshape(4, 8, 40, 3)[:, 2, 0].tolist()
    assert tinted[0] > 2 * tinted[2]
    assert (grey, result, truth) == ([128] * 3, [50] * 3, [200] * 3)


def test_protocols_that_differ_have_other_digests():
    assert results.Protocol("test", 2, 5).digest() == PROTOCOL.digest()
    assert results.Protocol("test", 2, 6).digest() != PROTOCOL.digest()
