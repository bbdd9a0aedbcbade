"""What Helm is called with, and what is said where it refuses."""

import pytest

from data_pipeline.cli.command import Refused, UserError
from k8s import helm


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A `helm` that is the shell script that it is given."""

    def make(script):
        binary = tmp_path / "helm"
        binary.write_text(f"#!/bin/sh\n{script}\n")
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
def test_a_refusal_is_one_line_that_begins_with_the_cause(fake, said, kind, line):
    fake(f"cat >&2 <<'END'\n{said}\nEND\nexit 1")
    with pytest.raises(kind) as found:
        helm.render(["sttn", "."])
    assert str(found.value).startswith(line)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("version", "forced"),
    [("v3.14.0", ""), ("v4.3.1", "--server-side=true --force-conflicts ")],
)
def test_an_upgrade_takes_back_what_others_changed_in_every_version_of_helm(
    version, forced, fake, tmp_path
):
    fake(f'[ "$1" != version ] || {{ echo {version}; exit; }}\necho "$*" > {tmp_path}/words')
    helm.install(["sttn", "charts/sttn"])
    assert (tmp_path / "words").read_text() == f"upgrade --install {forced}sttn charts/sttn\n"


def test_a_helm_of_an_unknown_version_is_refused(fake):
    fake("echo canary")
    with pytest.raises(UserError, match=r"`helm version` says 'canary\\n': install Helm 3"):
        helm.install(["sttn", "charts/sttn"])
