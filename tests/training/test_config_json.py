"""A stored config, read again; and invalid ones."""

import json

import pytest

from data_pipeline.cli.command import UserError
from training.config import serialisation
from training.config.serialisation import config_digest, from_json, to_json
from training.config.train_config import OptimiserConfig, TrainConfig


def refusal(document):
    with pytest.raises(UserError) as caught:
        from_json(document)
    return str(caught.value)


def document(**changes):
    return {**json.loads(json.dumps(to_json(TrainConfig()))), **changes}


def without(name):
    return {key: value for key, value in document().items() if key != name}


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (document(batch_clisp=4), "config has an unknown key 'batch_clisp' (did you mean 'batch_"),
        (document(loss={"hole": 1.0, "vlaid": 1.0}), "config.loss has an unknown key 'vlaid'"),
        (without("seed"), "config lacks seed"),
        (
            document(loss={"hole": 1.0}),
            "config.loss lacks adversarial, error, normalisation, valid",
        ),
        (document(schema=99), "schema 99; this version reads schemas 1 to 8"),
        (without("schema"), "schema None"),
        (document(clips="800"), "config.clips is '800' (str)"),
        (document(clips=800.0), "config.clips is 800.0 (float)"),
        (document(seed=True), "config.seed is True (bool)"),
        (document(name=None), "config.name is None (NoneType)"),
        (document(device="tpu"), "config.device is 'tpu'; it must be one of"),
        (document(loss=1), "config.loss is 1 (int)"),
        (
            document(generator={**document()["generator"], "fill": "telea"}),
            "config.generator.fill is 'telea'; it must be one of",
        ),
        (document(loss=None), "config.loss is None"),
    ],
)
def test_invalid_config_json_is_refused(broken, words):
    assert words in refusal(broken)


def test_a_config_of_the_first_schema_keeps_its_meaning():
    old = document(schema=1, compile_blocks=False)
    del old["compile"]
    for since in serialisation._OPERATIONAL_SINCE.values():
        for name in since:
            del old[name]
    for name in ("init", "precision"):
        del old[name]
    for group, name in (
        ("generator", "patch_sizes"),
        ("discriminator", "clips_apart"),
        ("loss", "normalisation"),
    ):
        old[group] = {key: value for key, value in old[group].items() if key != name}
    assert from_json(old) == TrainConfig(precision="float32", compile="off")


def test_a_config_from_before_fills_has_none():
    old = document(schema=4)
    del old["clip_references"], old["flows"]
    old["generator"] = {
        name: value for name, value in old["generator"].items() if not name.startswith("fill")
    }
    assert from_json(old) == TrainConfig()
    assert TrainConfig().generator.fill == "none"
    # No newer one may lack them.
    assert "config lacks clip_references, flows" in refusal({**old, "schema": 5})


@pytest.mark.parametrize(
    ("room", "name", "value"),
    [
        ("generator", "grids", "136"),
        ("generator", "grids", 3),
        ("generator", "grids", [1, "3"]),
        ("generator", "grids", [1, 2.5]),
        ("optimiser", "betas", [0.0]),
        ("optimiser", "betas", [0.0, 0.9, 0.99]),
        ("optimiser", "betas", [0.0, None]),
    ],
)
def test_a_list_of_wrong_types_is_refused(room, name, value):
    broken = document()
    broken[room][name] = value
    assert f"config.{room}.{name}" in refusal(broken)


def test_integers_are_read_as_floats():
    whole = document()
    whole["loss"] |= {"hole": 1, "valid": 1}
    whole["optimiser"]["betas"] = [0, 0.99]
    assert from_json(whole) == TrainConfig()
    assert config_digest(from_json(whole)) == config_digest(TrainConfig())


def test_a_preset_may_give_a_float_as_an_integer():
    """The driver has the preset's value, the workers have what JSON brought back."""
    whole, fraction = (
        TrainConfig(optimiser=OptimiserConfig(ema_half_life_clips=clips, betas=(beta, 0.99)))
        for clips, beta in ((4, 0), (4.0, 0.0))
    )
    assert config_digest(whole) == config_digest(fraction)
