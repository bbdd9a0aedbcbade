"""Door: delete old versions of a registered model.

`python mlops/prune.py --keep 5 --tracking-uri URI`

What stays, and why, is printed; so is what goes. `--dry-run` deletes nothing. MLflow keeps the
files of a deleted version until `mlflow gc`.
"""

import sys
from collections.abc import Sequence

from data_pipeline.door import parse, print_json, say
from mlops import claims, names, registry, tracking
from mlops.config import PruneConfig
from mlops.door import run_door
from mlops.registry import Version


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(PruneConfig, argv, prog="prune", description=str(__doc__))
    uri = tracking.absolute_uri(config.tracking_uri)
    gone, kept = [], []
    # Nobody moves an alias to what is being deleted.
    with claims.deciding(claims.folder_of(uri, config.leases), config.model):
        known = registry.versions(uri, config.model)
        reasons = staying(known, registry.aliases(uri, config.model), config.keep)
        for version in known:
            reason = reasons.get(version.version) or _shared(uri, version)
            if reason:
                kept.append(version.version)
                say(f"{version.uri}: stays, {reason}")
                continue
            gone.append(version.version)
            if config.dry_run:
                say(f"{version.uri}: would be deleted")
                continue
            left = registry.delete(uri, version)
            say(f"{version.uri}: deleted" + (f", but its files stay: {left}" if left else ""))
    if config.json:
        print_json({"deleted": gone, "kept": kept, "dry_run": config.dry_run})
    return 0


def _shared(uri: str, version: Version) -> str:
    """Why a version stays whose files others need too, "" when nobody does."""
    others = registry.sharers(uri, version)
    return f"its files are those of {', '.join(others)} too" if others else ""


def staying(versions: Sequence[Version], aliases: dict[str, str], newest: int) -> dict[str, str]:
    """Number of each version that stays -> why. Pure.

    Args:
        versions: of one model, the oldest first.
        aliases: alias -> number.
        newest: how many of the newest stay.
    """
    reasons: dict[str, list[str]] = {version.version: [] for version in versions}
    for alias, number in sorted(aliases.items()):
        reasons.setdefault(number, []).append(f"@{alias}")
    for version in versions:
        if version.tags.get(names.PROTECTED, "").lower() not in ("", "false"):
            reasons[version.version].append(f"{names.PROTECTED}={version.tags[names.PROTECTED]}")
    for version in versions[-newest:]:
        reasons[version.version].append(f"one of the newest {newest}")
    return {number: ", ".join(why) for number, why in reasons.items() if why}


if __name__ == "__main__":
    sys.exit(main())
