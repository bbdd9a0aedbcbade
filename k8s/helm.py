"""Helm's binary: the only place that calls it."""

import re
import shutil
import subprocess
from pathlib import Path

from data_pipeline.cli.command import Refused, UserError

CHART = Path(__file__).parents[1] / "charts" / "sttn"


def render(flags: list[str]) -> str:
    """Return the manifests that `install` would apply."""
    return _helm(["template", *flags])


def install(flags: list[str]) -> None:
    """Install or upgrade a release.

    Fields that others have changed since get the chart's values: Ray's autoscaler writes the
    workers of a RayCluster, and Helm 4 refuses an upgrade over such a field unless told so. Helm 3
    always does it.

    Args:
        flags: release and chart, then `--namespace`, `--values` and the like.
    """
    # Together: a release of Helm 3 is applied by the client, where `--force-conflicts` is an error.
    forced = ["--server-side=true", "--force-conflicts"] if _major() >= 4 else []
    _helm(["upgrade", "--install", *forced, *flags])


def uninstall(release: str, flags: list[str]) -> None:
    """Uninstall a release; objects annotated `helm.sh/resource-policy: keep` stay."""
    _helm(["uninstall", release, "--wait", *flags])


def _major() -> int:
    version = _helm(["version", "--template", "{{.Version}}"])
    found = re.match(r"v(\d+)\.", version)
    if found is None:
        raise UserError(f"`helm version` says {version!r}: install Helm 3.14 or later, or 4")
    return int(found.group(1))


def _helm(words: list[str]) -> str:
    binary = shutil.which("helm")
    if binary is None:
        raise UserError("there is no `helm` on the path: install Helm 3.14 or later, or 4")
    done = subprocess.run([binary, *words], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    said = " ".join(done.stderr.split()).removeprefix("Error: ")
    if "values don't meet the specifications" in said or "execution error" in said:
        # Of a refusal by a template, the sentence after its place alone.
        said = re.sub(r".*execution error at \([^)]*\): ", "", said)
        raise UserError(f"the chart does not take these values: {said}")
    if "not found" in said and words[0] == "uninstall":
        raise UserError(f"there is no release {words[1]!r} here: {said}")
    raise Refused(f"helm {words[0]} failed: {said}")
