import io
import json
import math
import os
import re
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from data_pipeline.read.reader import DataSet, read_clip
from mlops import evaluate, lineage
from mlops.evaluation import evaluation, floors, i3d, inputs, metrics, results, scoring
from mlops.evaluation.floor_fills import FILLS
from mlops.evaluation.protocol import PROTOCOLS
from mlops.media import pictures
from mlops.tracking import connection, locks, names, registry, runs
from tests.mlops import foreign
from tests.mlops.test_inputs import write_masks
from tests.parity import formula

pytestmark = [pytest.mark.waits, pytest.mark.usefixtures("workers")]

SHORT = ("--clips-per-video", "2", "--frames-per-clip", "5", "--workers", "1")
PROTOCOL = replace(PROTOCOLS["clean"], clips_per_video=2, frames_per_clip=5)
# Digest of the same protocol when evaluations had the two mean fills only.
_BEFORE_FILLS = "656b201c98f78833d0abc2b96a269800d38ea8f3cf0a6c43e0b6dcfc50c83c81"


def _evaluate(uri, data, *more):
    return evaluate.main(["--tracking-uri", uri, "--data", data, *SHORT, *more])


def _runs(uri):
    kind = f"tags.kind = '{names.KIND_EVALUATION}'"
    return connection.client(uri).search_runs([connection.experiment_id(uri)], kind)


def _expected_of_clips(data, fill):
    """Mean hole PSNR over the fixed clips, from the metric's definition."""
    data_set = DataSet.open(data)
    (video,) = data_set.videos("test")
    per_clip = []
    for clip in inputs.fixed_clips(data_set, PROTOCOL):
        frames, masks = read_clip(data_set, video, clip)
        values = [
            metrics.hole_psnr_db(frame, filled, mask)
            for frame, filled, mask in zip(frames, fill(frames, masks), masks, strict=True)
        ]
        per_clip.append(np.nanmean(values))
    return float(np.mean(per_clip))


def _expected(data, fill):
    """The same for a single-frame fill."""

    def of_clip(frames, masks):
        return [fill(*pair) for pair in zip(frames, masks, strict=True)]

    return _expected_of_clips(data, of_clip)


def _best_fill(data, clip):
    """Four frames of a clip side by side, filled by the best fill of this clip."""
    data_set = DataSet.open(data)
    frames, masks = read_clip(data_set, data_set.videos("test")[0], clip)
    filled = [fill(frames, masks) for fill in FILLS.values()]

    def level(one):
        return scoring.frame_means(frames, one, masks)["hole_psnr_db"]

    shown = np.linspace(0, len(frames) - 1, 4).astype(int)
    return np.concatenate(list(max(filled, key=level)[shown]), axis=1)


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
    for floor in floors.FLOORS:
        assert found.means[f"{floor.subject}/hole_psnr_db"] == pytest.approx(
            _expected_of_clips(data_set, FILLS[floor.subject])
        )
    assert len(found.scores) == 6 * 2
    assert found.data_digest == DataSet.open(data_set).digest

    tags = registry.resolve(store, version.uri).tags
    assert tags[names.EVALUATION] == names.EVALUATION_DONE
    assert tags[names.EVALUATION_RUN] == first["run"]
    files = {file.path for file in connection.client(store).list_artifacts(first["run"])}
    assert files == {
        names.PROTOCOL_JSON, names.RESULTS_JSON, names.RESULTS_PARQUET,
        names.VIDEOS_PARQUET, names.DRAWINGS,
    }  # fmt: skip

    for clip in inputs.fixed_clips(DataSet.open(data_set), PROTOCOL):
        drawn = runs.artifact(
            store, first["run"], f"{names.DRAWINGS}/candidate-00{clip.position}.png"
        )
        rows = np.asarray(Image.open(io.BytesIO(drawn))).reshape(5, 96, -1, 3)
        np.testing.assert_array_equal(rows[2], _best_fill(data_set, clip))

    assert _evaluate(store, data_set, "--json") == 0
    out, err = capfd.readouterr()
    again = json.loads(out.splitlines()[-1])
    assert (again["run"], again["already"]) == (first["run"], True)
    assert "was already evaluated" in out
    assert err == ""
    assert len(_runs(store)) == 1


@pytest.mark.usefixtures("forked")
def test_an_evaluation_without_classical_fills_is_recomputed(store, tmp_path, data_set, capfd):
    version = foreign.register(store, tmp_path / "model")
    before = foreign.record_evaluation(
        store, version, tmp_path / "results", candidate=15.0, **foreign.TRIVIAL
    )
    what = {
        names.DATA_DIGEST: DataSet.open(data_set).digest,
        names.PROTOCOL_DIGEST: _BEFORE_FILLS,
    }
    runs.set_tags(store, before, what)
    assert _evaluate(store, data_set, "--json") == 0
    out = capfd.readouterr().out
    assert "is evaluated" in out
    again = json.loads(out.splitlines()[-1])["run"]
    assert again != before
    assert results.read(store, again).unscored_floors() == ()
    assert registry.resolve(store, version.uri).tags[names.EVALUATION_RUN] == again


def test_versions_whose_code_differs_run_their_own_code(store, tmp_path, data_set, capfd):
    # Both have their code in a module of the same name.
    champion = foreign.register(store, tmp_path / "one", foreign.BLACK)
    registry.set_alias(store, champion, names.CHAMPION)
    foreign.register(store, tmp_path / "two", foreign.GREY)
    assert _evaluate(store, data_set) == 0
    out, err = capfd.readouterr()
    for line in err.splitlines():
        assert line.startswith("score models:/sttn/"), err  # no output of Ray or MLflow
    assert "models:/sttn/2 is evaluated" in out
    (run,) = _runs(store)
    found = results.read(store, run.info.run_id)
    assert (found.version, found.against) == ("2", "1")
    grey, black = _expected(data_set, _constant(128)), _expected(data_set, _constant(0))
    assert abs(grey - black) > 1
    assert found.means["candidate/hole_psnr_db"] == pytest.approx(grey)
    assert found.means["champion/hole_psnr_db"] == pytest.approx(black)
    pairs = found.hole_pairs()
    assert pairs["champion"] == {"video-0": (pytest.approx(grey), pytest.approx(black))}
    floor = found.means["floor_propagated/hole_psnr_db"]
    assert pairs["floor_propagated"] == {"video-0": (pytest.approx(grey), pytest.approx(floor))}
    assert found.unscored_floors() == ()


def test_the_champion_keeps_the_evaluation_it_was_promoted_with(store, tmp_path, data_set, capfd):
    foreign.register(store, tmp_path / "one")
    version = foreign.register(store, tmp_path / "two")
    run_id = foreign.record_evaluation(
        store, version, tmp_path / "results", "1",
        candidate=15, champion=14, **foreign.CLASSICAL,
    )  # fmt: skip
    what = {
        names.DATA_DIGEST: DataSet.open(data_set).digest,
        names.PROTOCOL_DIGEST: PROTOCOL.digest(),
    }
    runs.set_tags(store, run_id, what)
    registry.set_alias(store, version, names.CHAMPION)
    assert _evaluate(store, data_set) == 0
    assert f"models:/sttn/2 was already evaluated: run {run_id}" in capfd.readouterr().out
    assert len(_runs(store)) == 1


def test_a_failing_model_is_refused_with_one_line_below_its_traceback(
    store, tmp_path, data_set, capfd
):
    version = foreign.register(store, tmp_path / "model", foreign.BROKEN)
    assert _evaluate(store, data_set) == 1
    err = capfd.readouterr().err.splitlines()
    assert "could not be scored: RuntimeError: the model fell over" in err[-1]
    said = [line for line in err[:-1] if not line.startswith("score models:/")]  # progress
    assert said[:2] == ["in another process:", "Traceback (most recent call last):"]
    assert said[-1] == "RuntimeError: the model fell over"
    assert names.EVALUATION_RUN not in registry.resolve(store, version.uri).tags
    assert [run.info.status for run in _runs(store)] == ["FAILED"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "models:/sttn@best"], "aliases: candidate = version 1"),
        (["--against", "models:/sttn/9"], "models:/sttn/9 is not in the registry"),
        (["--split", "tset"], "has no split 'tset' (did you mean 'test'?)"),
        (["--frames-per-clip", "50"], "clips of 50 frames were requested, but video"),
        (["--data", "/nowhere"], "no data set at /nowhere"),
        (["--clips-per-video", "0"], "--clips-per-video is 0: give 1 to 1,000,000"),
        (["--promote", "--against", "models:/sttn/1"], "--promote decides against the champion"),
        (["--promote", "--split", "train"], "--split is train, on which the model was trained"),
        (["--until-idle"], "--until-idle belongs to --watch: give both"),
        (["--i3d", "/nowhere.pt"], "I3D weights /nowhere.pt are not there"),
        (["--confidence", "2"], "--confidence is 2.0: give 0.5 to 0.999999"),
        (["--workerz", "2"], "unknown flag --workerz (did you mean '--workers'?)"),
    ],
)
def test_user_errors_are_one_line_and_make_no_run(store, tmp_path, data_set, capfd, more, said):
    foreign.register(store, tmp_path / "model")
    assert _evaluate(store, data_set, *more) == 2
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert _runs(store) == []


def test_a_data_set_of_another_size_is_refused(store, tmp_path, data_set, capfd):
    foreign.register(store, tmp_path / "model", size=(432, 240))
    assert _evaluate(store, data_set) == 2
    assert "was trained at 432x240, the data set" in capfd.readouterr().err


def test_missing_uris_are_named_with_their_variables(monkeypatch, capsys):
    monkeypatch.delenv("STTN_DATA", raising=False)
    assert evaluate.main(["--tracking-uri", "sqlite:///x.db"]) == 2
    assert "--data is missing: give it, or set STTN_DATA" in capsys.readouterr().err


def score(position, video, frames, hole_frames, hole_psnr, psnr=30.0, subject="candidate"):
    row = dict.fromkeys(("ssim", "hole_ssim", "hole_share", "seconds_per_frame_s"), 0.5)
    return results.ClipScore(
        subject=subject, position=position, video=video, first_frame=0, frames=frames,
        hole_frames=hole_frames, variant=0, mask_kind="moving", inputs_sha256="f" * 64,
        psnr_db=psnr, hole_psnr_db=hole_psnr, warping_error_dis=0.001,
        warping_error_given=math.nan, **row,
    )  # fmt: skip


# A long video in two clips, one of them almost without a hole; a short one; one without any hole.
SCORES = [
    score(0, "long", 10, 10, 10.0, psnr=20.0),
    score(1, "long", 10, 2, 16.0, psnr=30.0),
    score(2, "short", 4, 4, 20.0, psnr=40.0),
    score(3, "none", 6, 0, math.nan, psnr=100.0),
]


def test_means_weight_frames_equally_within_a_video_and_videos_equally():
    videos = results.by_video(SCORES, PROTOCOL)["candidate"]
    assert videos["long"]["hole_psnr_db"] == 11.0
    assert videos["long"]["psnr_db"] == 25.0
    assert math.isnan(videos["none"]["hole_psnr_db"])
    means = results.means(SCORES, PROTOCOL)
    assert means["candidate/hole_psnr_db"] == (11 + 20) / 2
    assert means["candidate/psnr_db"] == (25 + 40 + 100) / 3
    assert means["candidate/hole_psnr_db_over_frames"] == (10 * 10 + 2 * 16 + 4 * 20) / 16
    assert means["candidate/psnr_db_over_frames"] == (200 + 300 + 160 + 600) / 30
    assert not any("given" in key or "vfid" in key for key in means)  # not measured


def test_results_round_trip(tmp_path):
    means = results.means(SCORES, PROTOCOL)
    results.write(tmp_path, SCORES, PROTOCOL, means, {"model_version": "1"})
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    back = [results.ClipScore(**row) for row in rows]
    assert [one.hole_psnr_db for one in back[:3]] == [10.0, 16.0, 20.0]
    assert math.isnan(back[3].hole_psnr_db)
    videos = pq.read_table(tmp_path / "videos.parquet").to_pylist()
    assert [(row["video"], row["psnr_db"]) for row in videos] == [
        ("long", 25.0), ("short", 40.0), ("none", 100.0),
    ]  # fmt: skip
    said = json.loads((tmp_path / "results.json").read_text())
    assert said["means"]["candidate/hole_psnr_db"] == 15.5
    assert said["protocol"]["frames_per_clip"] == 5


def test_extremes_merge_across_partitions():
    values = np.random.default_rng(0).permutation(100).tolist()
    parts = [scoring.Extremes(2) for _ in range(3)]
    shown = [value for at, value in enumerate(values) if parts[at % 3].show(value)]
    assert {0, 1, 98, 99} <= set(shown)
    assert len(shown) < 60
    whole = scoring.Extremes(2)
    for value in [*shown, math.nan]:
        whole.show(value)
    assert [value for value in sorted(values) if whole.holds(value)] == [0, 1, 98, 99]


def test_psnr_of_equal_frames_is_100_db():
    frames = np.full((2, 70, 70, 3), 9, np.uint8)
    masks = np.zeros((2, 70, 70), np.uint8)
    masks[0, :9, :9] = 1  # the second frame has no hole
    assert scoring.frame_means(frames, frames, masks) == {
        "psnr_db": 100.0,
        "ssim": pytest.approx(1.0),
        "hole_psnr_db": 100.0,
        "hole_ssim": pytest.approx(1.0),
    }


def test_a_strip_shows_input_hole_classical_fill_result_and_truth():
    frames = np.full((9, 8, 10, 3), 200, np.uint8)
    masks = np.zeros((9, 8, 10), np.uint8)
    masks[:, 2:4] = 1
    filled = np.where(masks[..., None] != 0, np.uint8(50), frames)
    floor = np.where(masks[..., None] != 0, np.uint8(90), frames)
    picture = np.asarray(Image.open(io.BytesIO(pictures.strip(frames, masks, floor, filled))))
    assert picture.shape == (5 * 8, 4 * 10, 3)
    tinted, *grey = picture.reshape(5, 8, 40, 3)[:, 2, 0].tolist()
    assert tinted[0] > 2 * tinted[2]
    assert grey == [[128] * 3, [90] * 3, [50] * 3, [200] * 3]
    without = np.asarray(Image.open(io.BytesIO(pictures.strip(frames, masks, None, filled))))
    np.testing.assert_array_equal(without, np.delete(picture, slice(16, 24), axis=0))


def test_different_protocols_have_different_digests():
    assert replace(PROTOCOL).digest() == PROTOCOL.digest()
    assert replace(PROTOCOL, frames_per_clip=6).digest() != PROTOCOL.digest()


def test_given_holes_flow_and_weights_are_used_and_recorded(store, tmp_path, data_set, capfd):
    """All given inputs are used and recorded; the metrics equal their definitions."""
    masks = np.zeros((12, 96, 96), np.uint8)
    masks[:, 30:50, 20:60] = 255
    write_masks(tmp_path / "masks", "video-0", masks)
    still = b"PIEH" + struct.pack("<ii", 96, 96) + np.zeros((96, 96, 2), "<f4").tobytes()
    for way in ("forward", "backward"):
        folder = tmp_path / "flows" / "video-0" / way
        folder.mkdir(parents=True)
        for number in range(11):
            (folder / f"{number:05d}.flo").write_bytes(still)
    save_file(i3d_weights(), tmp_path / "i3d.safetensors")
    foreign.register(store, tmp_path / "model", foreign.GREY)
    given = (
        "--masks", tmp_path / "masks", "--flows", tmp_path / "flows",
        "--i3d", tmp_path / "i3d.safetensors", "--json",
    )  # fmt: skip
    assert _evaluate(store, data_set, *map(str, given)) == 0
    out = capfd.readouterr().out
    assert "not measured" not in out
    found = results.read(store, json.loads(out.splitlines()[-1])["run"])
    assert {score.mask_kind for score in found.scores} == {"given"}
    assert len({score.inputs_sha256 for score in found.scores}) == 2

    clips, truth, filled = [], [], []
    held_out = DataSet.open(data_set)
    for clip in inputs.fixed_clips(held_out, found.protocol):
        frames = held_out.read_frames(held_out.videos("test")[0], clip.frames)
        grey = np.where(masks[: len(frames), ..., None] != 0, np.uint8(128), frames)
        truth.append(i3d.feature(i3d_weights(), frames))
        filled.append(i3d.feature(i3d_weights(), grey))
        clips.append(np.square(np.diff(grey.astype(np.float64) / 255, axis=0)).mean())
    assert found.means["candidate/warping_error_given"] == pytest.approx(np.mean(clips), rel=1e-5)
    assert found.means["candidate/vfid"] == pytest.approx(
        metrics.frechet_distance(np.array(filled), np.array(truth)), rel=1e-4
    )


def i3d_weights():
    shapes = json.loads((Path(formula.__file__).parent / "evaluation.json").read_text())
    return {
        key: torch.from_numpy(formula.i3d_weight(key, shape))
        for key, shape in shapes["i3d_shapes"].items()
    }


@pytest.mark.usefixtures("forked")
def test_a_model_never_sees_pixels_inside_the_hole(store, tmp_path, data_set, capfd):
    """A model that returns its input cannot return the ground truth."""
    foreign.register(store, tmp_path / "model", foreign.UNTOUCHED)
    assert _evaluate(store, data_set, "--promote", "--json") == 1
    found = json.loads(capfd.readouterr().out.splitlines()[-1])["means"]
    grey = _expected(data_set, _constant(128))
    assert found["candidate/hole_psnr_db"] == pytest.approx(grey)


@pytest.mark.usefixtures("forked")
def test_evaluate_with_promote_decides_in_one_command(store, tmp_path, data_set, capfd):
    foreign.register(store, tmp_path / "one", foreign.DIMMED.format(share=0.99))
    assert _evaluate(store, data_set, "--promote", "--json") == 0
    out = capfd.readouterr().out
    first = json.loads(out.splitlines()[-1])
    assert (first["decision"]["decision"], first["decision"]["champion"]) == ("promoted", "1")
    assert re.search(r"hole PSNR 4\d\.\d+ dB is above the \d+\.\d+ dB of floor_propagated", out)
    foreign.register(store, tmp_path / "two", foreign.DIMMED.format(share=0.98))
    assert _evaluate(store, data_set, "--promote") == 1
    assert "models:/sttn/2 is not promoted: hole PSNR is -" in capfd.readouterr().err
    foreign.register(store, tmp_path / "three", foreign.DIMMED.format(share=0.995))
    assert _evaluate(store, data_set, "--promote", "--floor-db", "60") == 1
    assert "is not above the 60.000 dB of the floor" in capfd.readouterr().err
    assert _evaluate(store, data_set, "--promote") == 0
    assert registry.resolve(store, "models:/sttn@champion").version == "3"
    assert registry.resolve(store, "models:/sttn@previous").version == "1"


@pytest.mark.usefixtures("forked")
def test_a_classical_fill_as_a_version_is_promoted_by_weak_floors_only(
    store, tmp_path, data_set, capfd
):
    foreign.register(store, tmp_path / "one", foreign.TELEA)
    assert _evaluate(store, data_set, "--promote") == 1
    (run,) = _runs(store)
    means = results.read(store, run.info.run_id).means
    levels = [means[f"{one}/hole_psnr_db"] for one in ("candidate", "floor_propagated")]
    assert levels[0] == means["floor_telea/hole_psnr_db"]
    assert (
        "models:/sttn/1 is not promoted: hole PSNR {:.3f} dB is not above the {:.3f} dB of "
        "floor_propagated, the best classical fill, {:+.3f} dB mean over 1 videos".format(
            *levels, levels[0] - levels[1]
        )
    ) in capfd.readouterr().err
    assert _evaluate(store, data_set, "--promote", "--floors", "trivial") == 0
    out = capfd.readouterr().out
    assert "was already evaluated" in out
    assert "models:/sttn/1 is the champion now" in out
    assert "judged by weak floors only: mean fills; not by the best classical fill" in out


def test_help_defines_each_floor(capsys):
    with pytest.raises(SystemExit):
        evaluate.main(["--help"])
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for floor in floors.FLOORS:
        assert f"{floor.subject}: {floor.definition}" in printed


@pytest.mark.usefixtures("forked")
def test_a_champion_promoted_during_evaluation_is_compared_with(
    store, tmp_path, data_set, capfd, monkeypatch
):
    """It was promoted while the candidate was evaluated against no champion."""
    foreign.register(store, tmp_path / "one", foreign.DIMMED.format(share=0.98))
    first = registry.resolve(store, "models:/sttn/1")
    foreign.register(store, tmp_path / "two", foreign.DIMMED.format(share=0.99))
    score = evaluation.score

    def meanwhile(*given):
        registry.set_alias(store, first, names.CHAMPION)
        return score(*given)

    monkeypatch.setattr(evaluation, "score", meanwhile)
    assert _evaluate(store, data_set, "--promote") == 0
    out = capfd.readouterr().out
    assert "was evaluated against no champion, but the champion is version 1" in out
    assert registry.resolve(store, "models:/sttn@champion").version == "2"
    assert sorted(run.data.tags[names.AGAINST_VERSION] for run in _runs(store)) == ["1", "none"]


@pytest.mark.usefixtures("forked")
def test_watch_evaluates_pending_versions_and_reports_failures(store, tmp_path, data_set, capfd):
    foreign.register(store, tmp_path / "one", foreign.BROKEN)
    foreign.register(store, tmp_path / "two", foreign.GREY)
    assert _evaluate(store, data_set, "--watch", "--until-idle") == 0
    out = capfd.readouterr().out
    assert "models:/sttn/1 could not be evaluated: models:/sttn/1 could not be scored" in out
    assert "nothing waits any more; 2 versions were evaluated here" in out
    broken, good = (registry.resolve(store, f"models:/sttn/{number}").tags for number in (1, 2))
    assert broken[names.EVALUATION] == names.EVALUATION_FAILED
    assert "the model fell over" in broken[names.EVALUATION_PROBLEM]
    assert good[names.EVALUATION] == names.EVALUATION_DONE
    assert _evaluate(store, data_set, "--watch", "--until-idle") == 0
    assert "0 versions were evaluated here" in capfd.readouterr().out


@pytest.mark.usefixtures("forked")
def test_reproduce_matches_exactly_and_reports_differences(
    store, tmp_path, data_set, capfd, monkeypatch
):
    version = foreign.register(store, tmp_path / "one", foreign.GREY)
    assert lineage.main([version.uri, "--tracking-uri", store, "--reproduce"]) == 2
    assert "was not evaluated yet: there is nothing to reproduce" in capfd.readouterr().err
    assert _evaluate(store, data_set) == 0
    command = [version.uri, "--tracking-uri", store, "--reproduce", "--workers", "1", "--json"]
    assert lineage.main(command) == 0
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert set(result["differences"]) == {
        "hole_psnr_db", "hole_ssim", "psnr_db", "ssim", "warping_error_dis",
    }  # fmt: skip
    assert set(result["differences"].values()) == {0.0}
    assert len(_runs(store)) == 1
    read = results.read

    def altered(*what, by):
        found = read(*what)
        first = replace(found.scores[0], hole_psnr_db=found.scores[0].hole_psnr_db + by)
        return replace(found, scores=(first, *found.scores[1:]))

    # Values not measured then, and infinite dB, differ from every number.
    for by, printed, said in (
        (0.25, 0.25, "0.25"),
        (math.nan, None, "inf"),
        (math.inf, None, "inf"),
    ):
        monkeypatch.setattr(results, "read", partial(altered, by=by))
        assert lineage.main(command) == 1
        out, err = capfd.readouterr()
        assert json.loads(out.splitlines()[-1])["differences"]["hole_psnr_db"] == printed
        assert f"hole_psnr_db by up to {said}" in err


def test_an_evaluation_already_in_progress_is_refused(store, tmp_path, data_set, capfd):
    version = foreign.register(store, tmp_path / "one", foreign.GREY)
    with locks.evaluating(locks.folder_of(store), version):
        assert _evaluate(store, data_set) == 1
    assert (
        f"refused: the evaluation of models:/sttn/1 is held by process {os.getpid()} on "
        in capfd.readouterr().err
    )
    assert _runs(store) == []
