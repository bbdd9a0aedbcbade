"""An error keeps its class on its way between processes."""

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


def test_every_class_of_ours_comes_back_as_itself_with_its_words():
    found = every_class()
    assert {UserError, Refused, TransientError, DiskFull} < set(found)
    assert len(found) > 12
    for kind in found:
        back = errors.decode(errors.encode(kind("what was asked: \u00fc \udcff\nand more")))
        assert type(back) is kind
        assert str(back) == "what was asked: \u00fc \udcff\nand more"


def test_a_class_that_is_not_known_where_it_arrives_becomes_the_nearest():
    class Local(TransientError):  # noqa: N818
        """Of another process."""

    told = errors.encode(Local("away")).replace("Local", "Elsewhere")
    assert type(errors.decode(told)) is TransientError


@pytest.mark.parametrize("error", [KeyError("x"), OSError(5, "Input/output error"), MemoryError()])
def test_what_is_not_ours_keeps_its_kind_and_its_traceback(error):
    def deep():
        raise error

    try:
        deep()
    except Exception as raised:
        told = errors.encode(raised)
    back = errors.decode(told)
    assert isinstance(back, errors.Unexpected)
    assert str(back).startswith(f"{type(error).__name__}: ")
    assert "\n" not in str(back)
    assert "in deep" in "".join(traceback.format_exception(back))
