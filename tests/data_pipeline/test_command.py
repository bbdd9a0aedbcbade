import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from data_pipeline.cli import command, deprecated
from data_pipeline.cli.command import Refused, UserError, parse, run_command
from data_pipeline.config import GROUPS, Command, ShardConfig, VerifyConfig


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


def test_flags_and_defaults_are_parsed():
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


def test_a_validation_message_is_printed_unwrapped():
    # Longer than any terminal: the message must not come from the wrapped box.
    assert complaint("--name", "a", "--clip-frames", "0") == (
        "--clip-frames 0 must be at least 1: " + "x" * 200
    )


def test_subcommands_are_parsed_and_wrong_ones_are_named():
    shard = read("shard", "--input", "a", "b", "--output", "c", kind=Command)
    assert shard == ShardConfig(input=("a", "b"), output="c")
    assert read("verify", "c", "--json", kind=Command) == VerifyConfig(uri="c", json=True)
    message = complaint("shrad", kind=Command)
    assert message.startswith("unknown command 'shrad' (did you mean 'shard'?); run.py has: ")
    assert "(did you mean '--output'?)" in complaint("shard", "--outptu", "c", kind=Command)
    assert complaint("verify", kind=Command) == (
        "Missing from run.py verify: URI; see run.py verify --help"
    )
    assert complaint(kind=Command).startswith("no command is given; run.py has: shard, verify")
    source = ("shard", "--input", "a", "--output", "b", "--source", "video")
    assert complaint(*source, kind=Command).startswith("--source is 'video': give one of davis, ")


@pytest.mark.parametrize(
    "change",
    [
        {"input": ()},
        {"width": 8},
        {"static": 0, "moving": 0},
        {"workers": 0},
        {"moving": -1},
        {"objects": -1},
        {"min_frames": 9, "max_frames": 8},
        {"max_rejected": 1.5},
        {"test_share": -0.1},
        {"test_share": 0.1, "held_out": ("a",)},
    ],
)
def test_invalid_settings_are_refused(change):
    with pytest.raises(UserError, match=r"--\w|no static"):
        ShardConfig(**{"input": ("a",), "output": "b"} | change)


def test_help_groups_options_and_keeps_the_lines_of_examples(capsys):
    with pytest.raises(SystemExit):
        parse(
            Outer,
            ["--help"],
            prog="run.py",
            description="Do it\nwell.\n\n$ run.py --name a\n$ run.py --name b",
            default=Outer(name="b", optimiser=Inner(rate=7)),
            groups={"clip": ("clip_frames",)},
        )
    out = capsys.readouterr().out
    assert "Do it well.\n\n$ run.py --name a\n$ run.py --name b\n" in out.replace("\n\n\n", "\n\n")
    first, nested = out.split(" optimiser options ")
    nested, clip = nested.split(" clip options ")
    assert "--name STR" in first
    assert "(default: b)" in first
    assert "--clip-frames INT" in clip
    assert "--optimiser.rate FLOAT" in nested
    assert "(default: 7" in nested


def test_help_groups_name_fields_of_shard():
    fields = {one.name for one in dataclasses.fields(ShardConfig)}
    grouped = [name for names in GROUPS.values() for name in names]
    assert set(grouped) < fields
    assert len(fields) - len(grouped) == 5


def test_help_exits_with_zero(capsys):
    with pytest.raises(SystemExit) as caught:
        read("--help")
    assert not caught.value.code
    assert "Frames." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("wrong"), 2, "error: wrong\n"),
        (Refused("no"), 1, "refused: no\n"),
        (KeyboardInterrupt(), 130, "interrupted by SIGINT; run the same command to resume\n"),
    ],
)
def test_exit_codes_of_errors(capsys, error, code, said):
    def body(_argv):
        raise error

    assert run_command(body, []) == code
    assert capsys.readouterr().err == said


def test_an_internal_error_keeps_its_traceback(capsys):
    def body(_argv):
        return 1 // 0

    assert run_command(body, []) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_print_json_is_one_line(capsys):
    command.print_json({"b": 1, "a": "ü"})
    out = capsys.readouterr().out
    assert out == '{"a":"ü","b":1}\n'
    assert json.loads(out) == {"a": "ü", "b": 1}


RENAMED = {
    "--rate": "--optimiser.rate",
    "--clip-frames few": "--clip-frames 2",
    "--short": "--clip-frames 3",
    "--quiet": "--calm",
}


@pytest.mark.parametrize(
    ("argv", "words", "warning"),
    [
        (["--rate", "3"], ["--optimiser.rate", "3"], "--rate is now --optimiser.rate"),
        (["--rate=3"], ["--optimiser.rate=3"], "--rate is now --optimiser.rate"),
        (["--clip_frames", "few"], ["--clip-frames", "2"], "--clip-frames few is now"),
        (["--clip-frames=few"], ["--clip-frames", "2"], "--clip-frames few is now"),
        (["--short", "x"], ["--clip-frames", "3", "x"], "--short is now --clip-frames 3"),
        (["--no-quiet"], ["--no-calm"], "--no-quiet is now --no-calm"),
        (["few", "--clip-frames", "4"], ["few", "--clip-frames", "4"], ""),
    ],
)
def test_old_names_of_flags_and_values(capsys, argv, words, warning):
    assert deprecated.renamed(argv, RENAMED) == words
    said = capsys.readouterr().err
    assert warning in said
    assert said.count("\n") == bool(warning)


def test_an_old_flag_works_with_a_warning_and_is_not_in_the_help():
    command = [sys.executable, "data_pipeline/run.py", "shard"]
    argv = ["--input", "a", "--output", "b", "--stationary", "1", "--width", "1"]
    done = subprocess.run([*command, *argv], capture_output=True, text=True, check=False)
    warning, error = done.stderr.splitlines()
    assert warning.startswith("warning: --stationary is now --static;")
    assert error == "error: --width is 1: give 16 to 16,384"
    assert done.returncode == 2
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--static" in shown
    assert "stationary" not in shown


def test_old_name_of_a_variable(capsys):
    assert deprecated.variable({"OLD": "a"}, "NEW", "OLD") == "a"
    assert capsys.readouterr().err.startswith("warning: OLD is now NEW;")
    assert deprecated.variable({"OLD": "a", "NEW": "b"}, "NEW", "OLD") == "b"
    assert deprecated.variable({}, "NEW", "OLD") is None
    assert not capsys.readouterr().err
