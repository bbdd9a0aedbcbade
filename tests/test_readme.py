"""What README and the Makefile tell a person to type exists and parses."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from data_pipeline.door import UserError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()

README_COMMANDS = sorted(set(re.findall(r"`python ([^`]+)`", README)))
DEMO_COMMANDS = re.findall(
    r"^\t\$\(BIN\)/python ((?:data_pipeline|training|mlops|k8s)/.*)$", MAKEFILE, re.M
)


def door(path):
    return importlib.import_module(path.removesuffix(".py").replace("/", "."))


def known_flags(module, words, capsys):
    """Flags that the door's own help names, for the subcommand or preset given."""
    command = [word for word in words[:1] if re.fullmatch("[a-z][a-z-]*", word)]
    with pytest.raises(SystemExit) as stop:
        module.main([*command, "--help"])
    assert stop.value.code == 0
    return set(re.findall(r"--[a-z][\w.-]*", capsys.readouterr().out))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.M))))
def test_every_make_target_of_the_readme_exists(target):
    assert re.search(rf"^{target}:", MAKEFILE, re.M)


@pytest.mark.parametrize("command", [*README_COMMANDS, *DEMO_COMMANDS])
def test_every_command_shown_exists_with_its_flags(command, capsys):
    path, *words = shlex.split(command.replace("[", "").replace("]", ""))
    assert (ROOT / path).is_file()
    asked = {word for word in words if re.fullmatch(r"--[a-z][\w.-]*", word)} - {"--field"}
    assert asked <= known_flags(door(path), words, capsys)


def test_the_demo_runs_five_doors_and_prints_each():
    assert len(DEMO_COMMANDS) == 6  # evaluate and promote are one step
    assert "@$(BIN)/python" not in MAKEFILE.split("\ntest:")[0].split("\ndemo:")[1]


def test_a_command_that_is_not_there_would_be_found(capsys):
    assert "--no-such-flag" not in known_flags(door("training/run.py"), ["demo"], capsys)
    with pytest.raises(UserError):
        importlib.import_module("training.invocation").invocation(["dmeo"])
