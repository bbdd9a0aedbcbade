"""The README is short, and commands of the Makefile exist and parse."""

import re
import shlex

import pytest
import yaml
from PIL import Image

from tests.documents import ROOT, complaint_of, flags_of

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
COMMAND = re.compile(r"^\t\$\(BIN\)/python ((?:data_pipeline|training|mlops|k8s)/.*)$", re.M)
DEMO = MAKEFILE.split("\ntest:")[0].split("\ndemo:")[1].split("\nserve:")[0]
MOST_LINES = 150
MOST_PICTURE_BYTES = 200_000


def test_the_readme_is_short_and_shows_a_picture():
    assert len(README.splitlines()) <= MOST_LINES
    picture = ROOT / re.findall(r"!\[.+\]\((.+)\)", README)[0]
    assert picture.stat().st_size <= MOST_PICTURE_BYTES
    with Image.open(picture) as image:
        assert image.width > image.height  # two frames beside each other


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.M))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", MAKEFILE, re.M)


@pytest.mark.parametrize("line", COMMAND.findall(MAKEFILE))
def test_every_command_of_the_makefile_parses(line):
    assert complaint_of(*shlex.split(line)) == ""


def test_the_demo_runs_seven_commands_and_prints_each():
    assert len(COMMAND.findall(DEMO)) == 7
    assert "@$(BIN)/python" not in DEMO


def test_pre_commit_runs_what_make_lint_runs():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    linters = re.search(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)[1].split("\n\t")
    wanted = [one.strip().replace("$(BIN)", ".venv/bin").removesuffix(" .") for one in linters]
    assert [hook["entry"] for hook in repo["hooks"]] == wanted


def test_wrong_commands_are_detected():
    assert "--no-such-flag" not in flags_of("training/run.py")
    assert complaint_of("training/run.py", "dmeo")
    assert complaint_of("training/run.py", "demo", "--no-such-flag", "1")
    assert complaint_of("data_pipeline/run.py", "shard", "--output", "here")
    assert complaint_of("k8s/submit.py", "train", "--", "--clips", "many")
    with pytest.raises(ModuleNotFoundError):
        complaint_of("mlops/no_such_command.py")
