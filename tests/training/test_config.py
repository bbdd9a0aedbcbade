import ast
import dataclasses
import json
from pathlib import Path

import pytest

import training
from data_pipeline.cli.command import UserError
from training.config import train_config as module
from training.config.presets import DEFAULT, PRESETS
from training.config.serialisation import config_digest, from_json, to_json
from training.config.train_config import (
    DiscriminatorConfig,
    GeneratorConfig,
    OptimiserConfig,
    TrainConfig,
    references_of,
    resolve,
)

ENVIRONMENT = {
    "STTN_DATA": "s3://lake/curated/a/v1",
    "STTN_STORAGE": "s3://runs",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
}

# Every field, with a value other than the default that is valid with the other defaults.
TRAINED = {
    "seed": 1,
    "init": "models:/sttn@champion",
    "batch_clips": 16,
    "clip_frames": 6,
    "clip_references": 2,
    "clip_reach": 5,
    "flows": "s3://lake/flows",
    "window_shards": 9,
    "precision": "bfloat16",
    "generator.channels": 128,
    "generator.blocks": 4,
    "generator.grids": (1, 2),
    "generator.patch_sizes": ((4, 4), (2, 2)),
    "generator.masked_attention": True,
    "generator.fill": "diffuse",
    "discriminator.channels": 32,
    "discriminator.clips_apart": False,
    "loss.error": "rmse",
    "loss.hole": 2.0,
    "loss.valid": 2.0,
    "loss.adversarial": 0.1,
    "loss.normalisation": "local",
    "optimiser.generator_learning_rate": 1e-3,
    "optimiser.discriminator_learning_rate": 1e-3,
    "optimiser.betas": (0.5, 0.99),
    "optimiser.decay_every_clips": 0,
    "optimiser.decays": 1,
    "optimiser.ema_half_life_clips": 0.0,
    "optimiser.init_std": 0.06,
}
OPERATIONAL = {
    "name": "other",
    "data": "s3://elsewhere/v1",
    "storage": "/runs",
    "tracking_uri": "http://elsewhere",
    "clips": 800,
    "device": "cpu",
    "workers": 1,
    "worker_threads": 2,
    "micro_batch_clips": 2,
    "min_workers": 1,
    "sharding": "ddp",
    "activation_checkpointing": True,
    "compile": "on",
    "prefetch_clips": 17,
    "log_every_clips": 1,
    "validate_every_clips": 1,
    "validation_clips": 1,
    "checkpoint_every_clips": 1,
    "keep_checkpoints": 4,
    "keep_every_clips": 100,
    "register_every_clips": 100,
    "require_tracking": True,
    "allow_new_data": True,
    "max_restarts": 0,
    "watchdog_timeout_s": 60,
    "profile_iterations": 1,
}


def changed(config, name, value):
    """A copy with one field changed, `optimiser.betas` say."""
    outer, _, inner = name.partition(".")
    if inner:
        value = dataclasses.replace(getattr(config, outer), **{inner: value})
    return dataclasses.replace(config, **{outer: value})


def names_of(config, prefix=""):
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from names_of(value, f"{field.name}.")
        else:
            yield prefix + field.name


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_resolves_and_round_trips_through_json(preset):
    resolved = resolve(PRESETS[preset], ENVIRONMENT)
    text = json.dumps(to_json(resolved), allow_nan=False)
    read = from_json(json.loads(text))
    assert read == resolved
    assert hash(read) == hash(resolved)
    assert config_digest(read) == config_digest(PRESETS[preset])


def test_the_default_preset_is_the_papers():
    assert PRESETS[DEFAULT] == TrainConfig(name=DEFAULT)
    assert dataclasses.astuple(TrainConfig().loss) == ("l1", 1.0, 1.0, 0.01, "global")
    assert TrainConfig().clips == 500_000 * TrainConfig().batch_clips


def test_every_field_has_another_value_here():
    assert sorted(names_of(TrainConfig())) == sorted([*TRAINED, *OPERATIONAL])


@pytest.mark.parametrize("name", TRAINED)
def test_the_digest_changes_with_a_trained_field(name):
    default = TrainConfig()
    if name == "flows":  # is for propagation only
        default = changed(default, "generator.fill", "propagate")
    other = changed(default, name, TRAINED[name])
    assert other != default
    assert config_digest(other) != config_digest(default)
    assert config_digest(from_json(json.loads(json.dumps(to_json(other))))) == config_digest(other)


@pytest.mark.parametrize("name", OPERATIONAL)
def test_the_digest_does_not_change_with_an_operational_field(name):
    other = changed(TrainConfig(), name, OPERATIONAL[name])
    assert other != TrainConfig()
    assert config_digest(other) == config_digest(TrainConfig())


def config_classes():
    return [
        kind
        for kind in vars(module).values()
        if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
    ]


@pytest.mark.parametrize("kind", config_classes())
def test_every_field_is_marked_trained_or_operational(kind):
    assert kind.__dataclass_params__.frozen
    for field in dataclasses.fields(kind):
        nested = dataclasses.is_dataclass(field.type)
        assert nested or isinstance(field.metadata.get("trained"), bool), field.name


@pytest.mark.parametrize(
    "file", ["config/train_config.py", "config/invocation.py", "export.py", "import_weights.py"]
)
def test_every_field_has_a_docstring(file):
    tree = ast.parse((Path(training.__file__).parent / file).read_text())
    fields = 0
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for field, after in zip(kind.body, [*kind.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                fields += 1
                where = f"{kind.name}.{ast.unparse(field.target)}"
                assert isinstance(after, ast.Expr), where
                line = ast.literal_eval(after.value)
                assert line.endswith("."), where
                assert "\n" not in line, where
    assert fields


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clips": 13, "batch_clips": 4, "workers": 4}, "use 16 or 12"),
        ({"clips": 3, "batch_clips": 4, "workers": 4}, "use 4"),
        ({"workers": 9}, "use --workers 8 or fewer"),
        ({"clips": 0}, "--clips is 0: give 1 to 1,000,000,000,000"),
        ({"micro_batch_clips": -1}, "--micro-batch-clips is -1"),
        ({"checkpoint_every_clips": 0}, "--checkpoint-every-clips is 0"),
        ({"name": "a/b"}, "--name is 'a/b'"),
        ({"name": ""}, "--name is ''"),
        ({"max_restarts": -1}, "--max-restarts is -1"),
        ({"min_workers": -1}, "--min-workers is -1"),
        ({"min_workers": 3, "workers": 2}, "--min-workers 3 is more than --workers 2"),
        ({"clip_reach": 0}, "--clip-reach is 0: give 1 to 1,000"),
        ({"clip_references": -1}, "--clip-references is -1: give 0 to 1,000"),
        (
            {"clip_references": 5},
            "--clip-references 5 of --clip-frames 5 leaves no neighbours: use at most 4",
        ),
        ({"flows": "/flows"}, "generator.fill is none: leave it out, or use --generator.fill prop"),
        ({"flows": "/flows", "generator": GeneratorConfig(fill="diffuse")}, "--flows is for propa"),
    ],
)
def test_inconsistent_values_are_refused_with_the_cure(changes, words):
    with pytest.raises(UserError) as caught:
        TrainConfig(**changes)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", [".", "..", "...", "-x"])
def test_a_run_name_that_is_not_a_plain_folder_is_refused(name):
    """`<storage>/..` is outside the storage."""
    with pytest.raises(UserError, match="--name is"):
        TrainConfig(name=name)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (GeneratorConfig, {"channels": 0}),
        (GeneratorConfig, {"channels": -12}),
        (GeneratorConfig, {"channels": 10}),
        (GeneratorConfig, {"blocks": -1}),
        (GeneratorConfig, {"grids": ()}),
        (GeneratorConfig, {"grids": (0, 1)}),
        (GeneratorConfig, {"grids": (-3, 1)}),
        (DiscriminatorConfig, {"channels": 0}),
        (OptimiserConfig, {"generator_learning_rate": 0.0}),
        (OptimiserConfig, {"discriminator_learning_rate": float("nan")}),
        (OptimiserConfig, {"init_std": -1.0}),
        (OptimiserConfig, {"betas": (0.0, 1.0)}),
        (OptimiserConfig, {"decay_every_clips": -1}),
        (OptimiserConfig, {"decays": -1}),
        (OptimiserConfig, {"ema_half_life_clips": -1.0}),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_name(kind, changes):
    with pytest.raises(UserError) as caught:
        kind(**changes)
    assert next(iter(changes)) in str(caught.value)


@pytest.mark.parametrize("grids", [(1,), (1, 2), (1, 2, 3), (1, 3, 6, 12), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("channels", [1, 62, 67])
def test_proposed_widths_are_accepted(grids, channels):
    with pytest.raises(UserError) as caught:
        GeneratorConfig(channels=channels, grids=grids)
    proposed = str(caught.value).split("use ")[1].split(" or ")
    assert proposed
    for width in proposed:
        GeneratorConfig(channels=int(width), grids=grids)


def test_the_command_line_wins_over_the_environment_and_paths_become_absolute(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    resolved = resolve(TrainConfig(data="lake/v1", storage="file:///runs"), ENVIRONMENT)
    assert resolved.data == str(tmp_path / "lake/v1")
    assert resolved.storage == "/runs"
    assert resolved.tracking_uri == ENVIRONMENT["MLFLOW_TRACKING_URI"]


def test_a_folder_of_flow_becomes_absolute_and_a_uri_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = GeneratorConfig(fill="propagate")
    for given, wanted in (("flows", f"{tmp_path}/flows"), ("s3://a/b", "s3://a/b"), (None, None)):
        config = TrainConfig(flows=given, generator=generator, storage="/runs")
        assert resolve(config, ENVIRONMENT).flows == wanted


@pytest.mark.parametrize(
    ("fill", "given", "wanted"),
    [
        ("none", 0, None),  # the official clips
        ("none", 2, 2),
        ("diffuse", 0, None),
        ("propagate", 0, 0),  # whose frames must follow each other
        ("propagate", 2, 2),
    ],
)
def test_clips_for_propagation_have_neighbours(fill, given, wanted):
    config = TrainConfig(clip_references=given, generator=GeneratorConfig(fill=fill))
    assert references_of(config) == wanted


def test_missing_settings_are_named_with_flag_and_variable():
    with pytest.raises(UserError) as caught:
        resolve(TrainConfig(storage="/runs"), {"STTN_DATA": ""})
    message = str(caught.value)
    assert "--data (or STTN_DATA), --tracking-uri (or MLFLOW_TRACKING_URI)" in message
    assert "--storage" not in message


@pytest.mark.parametrize("clips", [64, 128, 256, 512])
def test_large_presets_keep_the_papers_clips_and_scale_its_rates(clips):
    large, paper = PRESETS[f"youtube-vos-large-{clips}".removesuffix("-64")], PRESETS[DEFAULT]
    assert large.batch_clips == large.workers == clips
    assert 0 <= large.clips - paper.clips < clips
    rates = large.optimiser.generator_learning_rate, large.optimiser.discriminator_learning_rate
    assert rates == pytest.approx([1e-4 * (clips / 8) ** 0.5] * 2)
    assert large.optimiser.decay_every_clips == paper.optimiser.decay_every_clips
