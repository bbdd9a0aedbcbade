"""Deletes old versions of a registered model, and says why others stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from data_pipeline.cli.command import say
from mlops.config import PruneConfig
from mlops.promotion import decisions
from mlops.tracking import locks, names, registry
from mlops.tracking.registry import Version


@dataclass(frozen=True, slots=True)
class Pruned:
    """Numbers of versions."""

    deleted: list[str] = field(default_factory=list)
    """In a dry run, those that would be."""
    kept: list[str] = field(default_factory=list)


def prune(config: PruneConfig, uri: str) -> Pruned:
    """Delete what need not stay, the oldest first; a line for each version.

    Args:
        config: of the command.
        uri: tracking URI, absolute.

    Raises:
        UserError: there is no such model.
        Held: another process holds the lease for too long.
    """
    done = Pruned()
    # Nobody moves an alias to what is being deleted.
    with locks.deciding(locks.folder_of(uri, config.leases), config.model) as held:
        known = registry.versions(uri, config.model)
        reasons = staying(
            known,
            registry.aliases(uri, config.model),
            decisions.needed(uri, config.model),
            config.keep,
        )
        for version in known:
            reason = reasons.get(version.version) or _shared(uri, version)
            if reason:
                done.kept.append(version.version)
                say(f"{version.uri}: stays, {reason}")
                continue
            done.deleted.append(version.version)
            if config.dry_run:
                say(f"{version.uri}: would be deleted")
                continue
            held.check()
            left = registry.delete(uri, version)
            say(f"{version.uri}: deleted" + (f", but its files stay: {left}" if left else ""))
    return done


def _shared(uri: str, version: Version) -> str:
    """Return why a version stays whose files other versions need, "" when none does."""
    others = registry.sharers(uri, version)
    return f"its files are those of {', '.join(others)} too" if others else ""


def staying(
    versions: Sequence[Version], aliases: Mapping[str, str], needed: Mapping[str, str], newest: int
) -> dict[str, str]:
    """Number of each version that stays -> why. Pure.

    Args:
        versions: of one model, the oldest first.
        aliases: alias -> number.
        needed: number -> why, `decisions.needed`.
        newest: how many of the newest stay.
    """
    whole = [version for version in versions if not registry.half_deleted(version)]
    reasons: dict[str, list[str]] = {version.version: [] for version in versions}
    for alias, number in sorted(aliases.items()):
        reasons.setdefault(number, []).append(f"@{alias}")
    for version in whole:
        if version.tags.get(names.PROTECTED, "").lower() not in ("", "false"):
            reasons[version.version].append(f"{names.PROTECTED}={version.tags[names.PROTECTED]}")
        if version.version in needed and not reasons[version.version]:
            reasons[version.version].append(needed[version.version])
    for version in whole[-newest:]:
        reasons[version.version].append(f"one of the newest {newest}")
    return {number: ", ".join(why) for number, why in reasons.items() if why}
