"""Every number that a user may set has a lower and an upper bound, in all packages."""

import dataclasses
import importlib
import math
import typing
from pathlib import Path

import pytest

from data_pipeline.cli.bounds import Bounds
from data_pipeline.cli.command import UserError

MODULES = (
    "data_pipeline.config",
    "mlops.config",
    "training.config.train_config",
    "training.config.machines",
    "k8s.config",
)
CHECKED = [
    kind
    for name in MODULES
    for kind in vars(importlib.import_module(name)).values()
    if dataclasses.is_dataclass(kind)
    and kind.__module__ == name
    and (kind.__name__.endswith("Config") or kind.__name__ in ("Filling", "Rule", "Machines"))
]
# Fields without a default.
GIVEN = {
    "ShardConfig": {"input": ("a",), "output": "b"},
    "RemoveConfig": {"uri": "a"},
    "InpaintConfig": {"video": "a.mp4", "mask": "b.png", "out": Path("c.mp4")},
    "InpaintBatchConfig": {"inputs": "videos", "out": "filled"},
    "MasksConfig": {"video": "a.mp4", "out": Path("b.mp4"), "box": ("1,2,3,4",)},
    "BurnInConfig": {"video": "a.mp4", "out": Path("b.mp4"), "masks": Path("c.mp4")},
}


def numbers(hint):
    """The kinds of number in a field's type."""
    if typing.get_args(hint) and typing.get_origin(hint) is not typing.Literal:
        return {kind for one in typing.get_args(hint) for kind in numbers(one)}
    return {hint} & {int, float}


NUMERIC = [
    (kind, field)
    for kind in CHECKED
    for field in dataclasses.fields(kind)
    if numbers(typing.get_type_hints(kind)[field.name])
]


@pytest.mark.parametrize(
    ("kind", "field"),
    [pytest.param(*one, id=f"{one[0].__name__}.{one[1].name}") for one in NUMERIC],
)
def test_every_number_has_bounds_that_its_default_keeps(kind, field):
    assert kind
    bounds = field.metadata["bounds"]
    assert isinstance(bounds, Bounds)
    assert bounds.minimum < bounds.maximum < math.inf
    default = field.default if isinstance(field.default, tuple) else (field.default,)
    flat = [number for one in default for number in (one if isinstance(one, tuple) else (one,))]
    assert all(one is None or bounds.hold(one) for one in flat)


def test_all_packages_are_checked():
    assert {kind.__module__ for kind, _ in NUMERIC} == set(MODULES)
    assert len(NUMERIC) > 80


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 10**30])
@pytest.mark.parametrize(
    ("kind", "field"),
    [pytest.param(*one, id=f"{one[0].__name__}.{one[1].name}") for one in NUMERIC],
)
def test_out_of_range_values_are_refused_by_name(kind, field, value, monkeypatch):
    for variable in ("STTN_DATA", "MLFLOW_TRACKING_URI", "STTN_STORAGE"):
        monkeypatch.setenv(variable, "/x")
    given = GIVEN.get(kind.__name__, {})
    if isinstance(field.default, tuple):
        value = (value,) * max(1, len(field.default))
    with pytest.raises(UserError, match=field.name.replace("_", "[-_]") + ".*: give "):
        kind(**given, **{field.name: value})


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "said"),
    [
        (Bounds(1, 1000, open=False), [1, 1000], [0, 1001, math.nan], "1 to 1,000"),
        (Bounds(0, 1, open=True), [0.001, 1], [0, 1.1], "a number above 0, up to 1"),
        (Bounds(0, 10**12, open=False), [0], [10**12 + 1], "0 to 1,000,000,000,000"),
    ],
)
def test_bounds_hold_and_print(bounds, inside, outside, said):
    assert all(map(bounds.hold, inside))
    assert not any(map(bounds.hold, outside))
    assert str(bounds) == said
