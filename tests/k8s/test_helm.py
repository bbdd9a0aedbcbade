"""What is said where Helm refuses."""

import pytest

from data_pipeline.cli.command import Refused, UserError
from k8s import helm


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """A `helm` that fails with the words that it is given."""

    def make(said):
        binary = tmp_path / "helm"
        binary.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 1\n")
        binary.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return make


@pytest.mark.parametrize(
    ("said", "kind", "line"),
    [
        (
            "Error: execution error at (sttn/templates/x.yaml:4:4): image.repository is missing",
            UserError,
            "the chart does not take these values: image.repository is missing",
        ),
        (
            "Error: values don't meet the specifications of the schema(s):\nsttn:\n- (root): x",
            UserError,
            "the chart does not take these values: values don't meet the specifications",
        ),
        ("Error: Kubernetes cluster unreachable", Refused, "helm template failed: Kubernetes"),
    ],
)
def test_a_refusal_is_one_line_that_begins_with_the_cause(failing, said, kind, line):
    failing(said)
    with pytest.raises(kind) as found:
        helm.render(["sttn", "."])
    assert str(found.value).startswith(line)
    assert "\n" not in str(found.value)
