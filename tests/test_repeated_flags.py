"""Flags that take several values, given more than once, in all commands."""

import pytest

from data_pipeline.cli.command import parse
from data_pipeline.cli.repeated import joined
from data_pipeline.config import Command
from k8s.config import ClusterCommand
from mlops.config import BurnInConfig
from training.config.invocation import Invocation, invocation

INPUT = "shard", "--source", "videos", "--output", "/lake/a/v1"


def read(kind, *words):
    return parse(kind, words, prog="p", description="")


def test_values_of_a_repeated_flag_are_kept_in_order():
    assert read(ClusterCommand, "up", "--values", "a", "--values", "b").values == ("a", "b")
    words = ["up", "--values=a", "--render", "--values", "b", "c"]
    assert read(ClusterCommand, *words).values == ("a", "b", "c")
    assert read(Command, *INPUT, "--input", "a", "--input", "b").input == ("a", "b")


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        (Command, ["--input", "--held-out", "--split-lists", "--parents"]),
        (ClusterCommand, ["--values"]),
        (BurnInConfig, ["--subtitle"]),
        (Invocation, ["--generator.grids", "--generator.patch-sizes"]),
    ],
)
def test_every_multi_value_flag_is_joined(kind, flags):
    for flag in flags:
        assert joined([flag, "1", "--x", "y", flag, "2"], kind) == [flag, "1", "2", "--x", "y"]


def test_a_single_value_flag_is_not_joined():
    words = ["--clips", "8", "--clips", "16"]
    assert joined(words, Invocation) == words
    assert invocation(["smoke", *words])[1].config.clips == 16
