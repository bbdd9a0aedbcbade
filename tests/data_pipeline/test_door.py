import json
from dataclasses import dataclass, field

import pytest

from data_pipeline import door
from data_pipeline.config import Command, ShardConfig, VerifyConfig
from data_pipeline.door import Refused, UserError, parse, run_door


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    rate: float = 1e-3
    """Learning rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    """Name."""
    clip_frames: int = 5
    """Frames."""
    optimiser: Inner = field(default_factory=Inner)
    """Optimiser."""

    def __post_init__(self):
        if self.clip_frames < 1:
            raise ValueError(f"--clip-frames {self.clip_frames} must be at least 1: " + "x" * 200)


def read(*argv, kind=Outer, **options):
    return parse(kind, argv, prog="run.py", description="", **options)


def complaint(*argv, **options):
    with pytest.raises(UserError) as caught:
        read(*argv, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_reads_flags_and_defaults():
    assert read("--name", "a", "--optimiser.rate", "0.5") == Outer(
        name="a", optimiser=Inner(rate=0.5)
    )
    assert read("--clip-frames", "3", default=Outer(name="b")) == Outer(name="b", clip_frames=3)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--nmae", "a"], "unknown flag --nmae (did you mean '--name'?)"),
        (["--name", "a", "--clip-frmaes=3"], "unknown flag --clip-frmaes (did you mean"),
        (["--name", "a", "--optimiser.rte", "3"], "(did you mean '--optimiser.rate'?)"),
        (["--name", "a", "--zzz"], "unknown flag --zzz; see run.py --help"),
        ([], "Missing from run.py: --name STR"),
        (["--name", "a", "--clip-frames", "many"], "Error parsing --clip-frames: invalid literal"),
        (["--name", "a", "--clip-frames"], "Missing value for argument '--clip-frames'"),
        (["--name", "a", "b"], "Unrecognized options: b; see run.py --help"),
    ],
)
def test_a_wrong_command_line_is_one_line(argv, words):
    assert words in complaint(*argv)


def test_message_of_a_check_comes_through_unbroken():
    # Longer than any terminal: it must not be taken from the wrapped box.
    assert complaint("--name", "a", "--clip-frames", "0") == (
        "--clip-frames 0 must be at least 1: " + "x" * 200
    )


def test_commands_of_this_room():
    shard = read("shard", "--input", "a", "b", "--output", "c", kind=Command)
    assert shard == ShardConfig(input=("a", "b"), output="c")
    assert read("verify", "c", "--json", kind=Command) == VerifyConfig(uri="c", json=True)
    message = complaint("shrad", kind=Command)
    assert message.startswith("unknown command 'shrad' (did you mean 'shard'?); run.py has: ")
    assert "(did you mean '--output'?)" in complaint("shard", "--outptu", "c", kind=Command)


@pytest.mark.parametrize(
    "change",
    [
        {"input": ()},
        {"width": 8},
        {"stationary": 0, "moving": 0},
        {"workers": 0},
        {"moving": -1},
        {"objects": -1},
        {"min_frames": 9, "max_frames": 8},
        {"max_rejected": 1.5},
        {"test_share": -0.1},
        {"test_share": 0.1, "held_out": ("a",)},
    ],
)
def test_settings_that_make_no_sense(change):
    with pytest.raises(UserError, match=r"--\w|no stationary"):
        ShardConfig(**{"input": ("a",), "output": "b"} | change)


def test_help_is_printed_and_is_no_error(capsys):
    with pytest.raises(SystemExit) as caught:
        read("--help")
    assert not caught.value.code
    assert "Frames." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("wrong"), 2, "error: wrong\n"),
        (Refused("no"), 1, "refused: no\n"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command to go on\n"),
    ],
)
def test_how_a_door_ends(capsys, error, code, said):
    def body(_argv):
        raise error

    assert run_door(body, []) == code
    assert capsys.readouterr().err == said


def test_our_own_fault_keeps_its_traceback(capsys):
    def body(_argv):
        return 1 // 0

    assert run_door(body, []) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_print_json_is_one_line(capsys):
    door.print_json({"b": 1, "a": "ü"})
    out = capsys.readouterr().out
    assert out == '{"a":"ü","b":1}\n'
    assert json.loads(out) == {"a": "ü", "b": 1}
