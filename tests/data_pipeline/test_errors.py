"""Errors keep their class between processes."""

import importlib
import pkgutil
import traceback

import pytest

import data_pipeline
import k8s
import mlops
import training
from data_pipeline.cli import errors
from data_pipeline.cli.command import Refused, UserError
from data_pipeline.storage.store import DiskFull, TransientError


def every_class():
    for room in (data_pipeline, mlops, training, k8s):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            importlib.import_module(module.name)
    return sorted(
        {*errors._below(UserError), *errors._below(Refused)}, key=lambda one: one.__qualname__
    )


def test_every_project_error_round_trips_with_its_message():
    found = every_class()
    assert {UserError, Refused, TransientError, DiskFull} < set(found)
    assert len(found) > 12
    for kind in found:
        back = errors.decode(errors.encode(kind("what was asked: \u00fc \udcff\nand more")))
        assert type(back) is kind
        assert str(back) == "what was asked: \u00fc \udcff\nand more"


def test_an_unknown_error_class_becomes_its_nearest_base():
    class Local(TransientError):  # noqa: N818
        """A class known only in another process."""

    encoded = errors.encode(Local("away")).replace("Local", "Elsewhere")
    assert type(errors.decode(encoded)) is TransientError


@pytest.mark.parametrize("error", [KeyError("x"), OSError(5, "Input/output error"), MemoryError()])
def test_a_foreign_error_keeps_its_type_and_traceback(error):
    def deep():
        raise error

    try:
        deep()
    except Exception as raised:
        encoded = errors.encode(raised)
    back = errors.decode(encoded)
    assert isinstance(back, errors.Unexpected)
    assert str(back).startswith(f"{type(error).__name__}: ")
    assert "\n" not in str(back)
    assert "in deep" in "".join(traceback.format_exception(back))
