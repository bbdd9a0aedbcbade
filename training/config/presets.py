"""Complete runs by name; flags are for small deviations.

`youtube-vos` and `davis` are the paper's recipes; `youtube-vos-large` is for more GPUs than their
batch has clips; `youtube-vos-propagate` begins where propagation along optical flow ends. `smoke`
takes seconds, trains nothing worth having and exists to run every part once. `demo` trains a useful
model on two CPU cores in minutes; `starter` made the one that comes with the program, in less than
an hour.
"""

from training.config.train_config import (
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimiserConfig,
    TrainConfig,
)

DEFAULT = "youtube-vos"


def _large(batch_clips: int) -> TrainConfig:
    """The paper's recipe with more clips at a time, for as many workers: never verified.

    Both learning rates grow with the square root of the batch, the usual rule for Adam; what is
    counted in clips (length, decays, average) stays, rounded up to whole batches.
    """
    paper = TrainConfig()
    rate = paper.optimiser.generator_learning_rate * (batch_clips / paper.batch_clips) ** 0.5
    return TrainConfig(
        name=f"youtube-vos-{batch_clips}",
        clips=-(-paper.clips // batch_clips) * batch_clips,
        batch_clips=batch_clips,
        workers=batch_clips,
        min_workers=batch_clips // 8,  # elastic: trains with the workers there are
        sharding="hsdp",  # over many nodes FSDP would exchange longer than it computes (--plan)
        optimiser=OptimiserConfig(generator_learning_rate=rate, discriminator_learning_rate=rate),
    )


PRESETS: dict[str, TrainConfig] = {
    # Paper section 4 and the official youtube-vos.json: 500,000 iterations of 8 clips. The average
    # of the weights is ours. Never run to its end.
    "youtube-vos": TrainConfig(name="youtube-vos"),
    # 64 clips; by number 128, 256 and 512. Nobody has shown that these train as well.
    "youtube-vos-large": _large(64),
    **{f"youtube-vos-large-{clips}": _large(clips) for clips in (128, 256, 512)},
    # The paper's network over propagated frames: local neighbours and distant references, as the
    # networks that came after it are trained. Never run to its end.
    "youtube-vos-propagate": TrainConfig(
        name="youtube-vos-propagate",
        clip_frames=7,
        clip_references=2,
        generator=GeneratorConfig(fill="propagate"),
    ),
    # The official davis.json: 300,000 iterations, the second division by 10 never comes. The paper
    # starts from weights trained on YouTube-VOS. Never run to its end.
    "davis": TrainConfig(
        name="davis",
        clips=2_400_000,
        optimiser=OptimiserConfig(decay_every_clips=1_200_000, decays=1),
    ),
    # Widths are the least that keeps every kind of layer.
    "smoke": TrainConfig(
        name="smoke",
        clips=8,
        batch_clips=4,
        clip_frames=3,
        window_shards=2,
        precision="float32",
        generator=GeneratorConfig(channels=16, blocks=1),
        discriminator=DiscriminatorConfig(channels=4),
        optimiser=OptimiserConfig(ema_half_life_clips=4.0),
        device="cpu",
        workers=2,
        worker_threads=1,
        compile="off",
        micro_batch_clips=2,
        prefetch_clips=4,
        log_every_clips=4,
        validate_every_clips=8,
        validation_clips=2,
        checkpoint_every_clips=4,
    ),
    # A small network that begins where propagation ends, for two CPU cores: what `mlops/starter`
    # was trained with, at a constant rate: the decay lies beyond its end. For PSNR, without a
    # discriminator. Clips are long: one frame more costs less than the flow around a clip.
    "starter": TrainConfig(
        name="starter",
        clips=1_200,
        batch_clips=2,
        clip_frames=13,
        clip_references=1,
        clip_reach=10,
        precision="float32",
        generator=GeneratorConfig(channels=32, blocks=2, fill="propagate"),
        discriminator=DiscriminatorConfig(channels=4),
        loss=LossConfig(error="rmse", adversarial=0.0),
        # Narrower networks want larger initial weights for the same gain per layer (0.02 at 256
        # channels), and can take a larger step.
        optimiser=OptimiserConfig(
            generator_learning_rate=1e-3,
            betas=(0.9, 0.99),
            decay_every_clips=1_900,
            decays=1,
            ema_half_life_clips=60.0,
            init_std=0.1,
        ),
        device="cpu",
        workers=2,
        worker_threads=1,
        compile="off",
        micro_batch_clips=1,
        prefetch_clips=8,
        log_every_clips=40,
        validate_every_clips=1_200,
        validation_clips=8,
        checkpoint_every_clips=200,
    ),
    # Two videos are few: after some 200 clips training on them overfits.
    "demo": TrainConfig(
        name="demo",
        data="demo/lake/curated/demo/v1",
        storage="demo/runs",
        tracking_uri="sqlite:///demo/mlflow.db",
        clips=240,
        batch_clips=8,
        clip_frames=6,
        clip_references=1,
        clip_reach=6,
        window_shards=2,
        precision="float32",
        generator=GeneratorConfig(channels=32, blocks=2, fill="propagate"),
        discriminator=DiscriminatorConfig(channels=8),
        loss=LossConfig(),
        optimiser=OptimiserConfig(
            generator_learning_rate=3e-4,
            discriminator_learning_rate=1e-4,
            decay_every_clips=160,
            decays=1,
            ema_half_life_clips=40.0,
            init_std=0.1,
        ),
        device="cpu",
        workers=2,
        worker_threads=1,
        compile="off",
        micro_batch_clips=4,
        prefetch_clips=8,
        log_every_clips=16,
        validate_every_clips=80,
        validation_clips=4,
        checkpoint_every_clips=80,
    ),
}
