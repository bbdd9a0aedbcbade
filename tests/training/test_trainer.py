"""The training loop in one process, on tiny videos: intervals, stopping and resuming."""

import dataclasses
import math
import time

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from data_pipeline.read.clips import clip_order, evaluation_clips
from data_pipeline.read.reader import DataSet, read_clip
from data_pipeline.storage import lake
from mlops.evaluation.metrics import hole_psnr_db, hole_ssim
from mlops.tracking import names
from training.checkpoints import checkpoint
from training.checkpoints.checkpoint import weights_sha256
from training.checkpoints.saver import Saver
from training.config.presets import PRESETS
from training.config.train_config import OptimiserConfig, references_of
from training.driver.trainer import train
from training.learn.batch import Batch, Pixels
from training.learn.filling import reading
from training.learn.loader import Loader
from training.learn.networks import build_adversary, build_generator
from training.observe.phases import CHECKPOINTS, CURVES, DATA, LEARNING, VALIDATION
from training.observe.validation import Validation, remark, show
from training.observe.watchdog import watchdog

CONFIG = dataclasses.replace(
    PRESETS["smoke"],
    clips=24,
    log_every_clips=8,
    checkpoint_every_clips=8,
    validate_every_clips=12,
    keep_checkpoints=2,
    optimiser=OptimiserConfig(generator_learning_rate=0.01, ema_half_life_clips=8.0, init_std=0.1),
)

PROPAGATED = {
    "clip_frames": 4,
    "clip_references": 1,
    "clip_reach": 3,
    "validate_every_clips": 1000,
    "generator": dataclasses.replace(CONFIG.generator, fill="propagate"),
}


class Notes:
    """Stands in for `Telemetry`: records its arguments."""

    def __init__(self):
        self.lines = []
        self.validations = []
        self.phases = None

    def scalars(self, clips, losses, learning_rate, seconds):
        self.lines.append((clips, losses, learning_rate, seconds))

    def validation(self, clips, scores, shown):
        self.validations.append((clips, scores, shown))

    def time_by_phase(self, phases, elapsed):
        self.phases = phases, elapsed


class Warnings:
    """Stands in for `Preemption`: warns as configured."""

    def __init__(self, nodes=frozenset):
        self.nodes = nodes


@pytest.fixture(scope="module")
def data_set(data_sets):
    return DataSet.open(data_sets["fitting"])


@pytest.fixture
def run(data_set, tmp_path):
    """Start or resume a run up to a number of clips; returns (adversary, notes)."""

    def to(
        clips,
        *,
        name="run",
        change=lambda batch, _position: batch,
        leaving=frozenset,
        data_set=data_set,
        **fields,
    ):
        config = dataclasses.replace(CONFIG, clips=clips, **fields)
        uri = str(tmp_path / name)
        adversary = build_adversary(config, torch.device("cpu"))
        seen = 0
        found, _ = checkpoint.newest(uri)
        if found is not None:
            found.load(adversary.tensors())
            seen = found.clips
        adversary.set_iterations(seen // config.batch_clips)
        how = config.seed, config.clip_frames, 2, references_of(config)
        order = clip_order(data_set, "train", *how)
        notes = Notes()
        settings = {"batch_clips": config.batch_clips, "rank": 0, "world": 1, "prefetch_clips": 1}
        settings["read"] = reading(config)
        kept = {"newest": config.keep_checkpoints, "every": config.keep_every_clips}
        with (
            watchdog(60, 0, {}, print) as watch,
            Saver(uri, **kept, leader=True) as saver,
            Loader(data_set, "train", order, position=seen, **settings) as batches,
        ):
            positions = range(seen, 10**6, config.batch_clips)
            train(
                config,
                adversary,
                map(change, batches, positions),
                clips=seen,
                saver=saver,
                preemption=Warnings(leaving),
                watch=watch,
                state={},
                validation=Validation(data_set, "train", config, torch.device("cpu")),
                device=torch.device("cpu"),
                telemetry=notes,
            )
        return adversary, notes

    return to


def checkpoints(tmp_path):
    return sorted(int(one.name.removeprefix("clips-")) for one in tmp_path.glob("*/checkpoints/*"))


@pytest.mark.parametrize("how", [{}, PROPAGATED], ids=["unfilled", "propagated"])
def test_a_resumed_run_ends_with_the_same_weights(run, how):
    through, _ = run(24, name="through", **how)
    run(8, name="stopped", **how)
    run(16, name="stopped", **how)
    resumed, _ = run(24, name="stopped", **how)
    assert weights_sha256(resumed.tensors()) == weights_sha256(through.tensors())


def test_intervals_are_counted_in_clips(run, tmp_path):
    _, notes = run(28)
    assert [clips for clips, *_ in notes.lines] == [8, 16, 24, 28]
    assert [clips for clips, *_ in notes.validations] == [0, 12, 24, 28]
    assert checkpoints(tmp_path) == [24, 28]  # the newest two of 8, 16, 24, 28


def test_logged_scalars_are_means_over_their_interval(run):
    _, every = run(24, name="every", log_every_clips=4)
    _, second = run(24, name="second", log_every_clips=8)
    for i, (_, losses, rate, seconds) in enumerate(second.lines):
        first, last = every.lines[2 * i][1], every.lines[2 * i + 1][1]
        assert losses.keys() == first.keys() >= {names.LOSS_HOLE, names.LOSS_VALID}
        assert all(losses[name] == pytest.approx((first[name] + last[name]) / 2) for name in losses)
        assert rate == CONFIG.optimiser.generator_learning_rate
        assert seconds[DATA] > 0
        assert seconds[LEARNING] > 0


def test_phase_times_add_up_to_the_loop_time(run):
    _, notes = run(24)
    phases, elapsed = notes.phases
    assert phases.total.keys() == {DATA, LEARNING, CURVES, VALIDATION, CHECKPOINTS}
    assert 0.9 * elapsed < sum(phases.total.values()) <= elapsed


def test_validation_uses_the_ema_generator_on_fixed_held_out_clips(run, data_set):
    adversary, notes = run(12)
    (video,) = data_set.videos("test")
    clips = evaluation_clips((video.frames,), (2,), CONFIG.validation_clips, CONFIG.clip_frames)
    generator = build_generator(CONFIG.generator)
    generator.load_state_dict(adversary.ema)
    psnr, ssim = [], []
    for clip in clips:
        truth, masks = read_clip(data_set, video, clip)
        filled = show(generator, Pixels(truth, masks), torch.device("cpu")).filled
        for frame in zip(truth, filled, masks, strict=True):
            psnr.append(hole_psnr_db(*frame))
            ssim.append(hole_ssim(*frame))
    (first, before, _), (last, after, shown) = notes.validations
    assert (first, last) == (0, 12)
    assert after[names.VALIDATION_HOLE_PSNR] == pytest.approx(np.mean(psnr))
    assert after[names.VALIDATION_HOLE_SSIM] == pytest.approx(np.mean(ssim))
    assert after != before
    (longer,) = evaluation_clips((video.frames,), (2,), 1, min(16, video.frames))
    pixels = Pixels(*read_clip(data_set, video, longer)), torch.device("cpu")
    assert np.array_equal(shown.video(), show(generator, *pixels).video())
    assert not np.array_equal(shown.video(), show(adversary.generator, *pixels).video())


def test_scores_on_training_videos_are_named_as_such(run, data_sets):
    data_set = DataSet.open(data_sets["nothing held out"])
    said = remark(data_set)
    assert f"{data_set.uri} holds no video out: validation scores training clips" in said
    assert remark(DataSet.open(data_sets["fitting"])) == ""
    _, notes = run(4, data_set=data_set)
    for _, scores, _ in notes.validations:
        assert scores.keys() == {
            "validation_on_training_videos/hole_psnr_db",
            "validation_on_training_videos/hole_ssim",
        }


def test_a_held_out_video_shorter_than_a_clip_is_taken_whole(run, data_sets):
    short = DataSet.open(data_sets["shortest held out"])
    (video,) = short.videos("test")
    _, notes = run(4, data_set=short, clip_frames=10)
    assert [len(shown.truth) for *_, shown in notes.validations] == [video.frames] * 2


def breaks_from(position):
    """Clips that turn a network's weights into NaN, from a position on."""

    def change(batch, here):
        frames = batch.frames * math.nan if here >= position else batch.frames
        return Batch(frames, batch.masks, batch.weights)

    return change


@pytest.mark.parametrize("log_every_clips", [4, 24])
def test_non_finite_weights_stop_the_run_and_are_never_saved(run, tmp_path, log_every_clips):
    found = r"not finite: .*hole.* on rank 0, clips 12, 13, 14, 15; the last checkpoint is good"
    with pytest.raises(FloatingPointError, match=found):
        run(24, change=breaks_from(12), log_every_clips=log_every_clips)
    assert checkpoints(tmp_path) == [8]
    found, _ = checkpoint.newest(str(tmp_path / "run"))
    tensors = build_adversary(CONFIG, torch.device("cpu")).tensors()
    found.load(tensors)
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_a_checkpoint_in_progress_is_completed_when_weights_become_non_finite(
    run, tmp_path, monkeypatch
):
    upload = lake.upload

    def slow(path, uri):
        time.sleep(1)
        upload(path, uri)

    monkeypatch.setattr(lake, "upload", slow)
    with pytest.raises(FloatingPointError):
        run(24, change=breaks_from(12), log_every_clips=4)
    assert checkpoint.complete(str(tmp_path / "run")).keys() == {8}


def test_a_non_finite_gradient_is_named_with_the_losses(run, tmp_path, monkeypatch):
    backward, passes = torch.autograd.backward, []

    def breaking(total):
        passes.append(total)
        # The generator's, the last of six passes of the fourth iteration: two micro-batches.
        backward(total * math.inf if len(passes) == 24 else total)

    monkeypatch.setattr(torch.autograd, "backward", breaking)
    found = r"not finite: gradient of the generator on rank 0, clips 12, 13, 14, 15;"
    with pytest.raises(FloatingPointError, match=found):
        run(24, log_every_clips=24)
    assert checkpoints(tmp_path) == [8]


def test_a_step_that_makes_weights_non_finite_stops_the_run_before_saving(run, tmp_path):
    """The losses of that iteration are still finite."""
    steps = []

    def post(adam, _args, _kwargs):
        steps.append(adam)
        if len(steps) == 8:  # the generator's, 16 clips seen
            adam.param_groups[0]["params"][3].data.fill_(math.inf)

    hook = register_optimizer_step_post_hook(post)
    try:
        with pytest.raises(FloatingPointError, match=r"at clip 16, ema\..*last checkpoint is good"):
            run(24)
    finally:
        hook.remove()
    assert checkpoints(tmp_path) == [8]


def test_a_node_about_to_leave_triggers_one_early_checkpoint(run, tmp_path):
    warnings = iter([frozenset()] * 2 + [frozenset({"a"})] * 2 + [frozenset({"a", "b"})] * 100)
    run(32, checkpoint_every_clips=1000, keep_checkpoints=9, leaving=lambda: next(warnings))
    assert checkpoints(tmp_path) == [12, 20, 32]


def test_the_checkpoint_with_the_lowest_hole_loss_is_kept(run, tmp_path):
    brightness = {8: 0.0}  # of the ground truth, which scales the loss

    def change(batch, position):
        factor = brightness.get(position, 1.0)
        return Batch(batch.frames * factor, batch.masks, batch.weights)

    run(32, change=change, checkpoint_every_clips=4, log_every_clips=4, keep_checkpoints=1)
    assert checkpoints(tmp_path) == [12, 32]
