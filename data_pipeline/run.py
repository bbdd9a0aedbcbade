"""Build, check, look at, list and remove data sets.

$ python data_pipeline/run.py shard --input VIDEO… --output URI --held-out ID…
$ python data_pipeline/run.py verify URI
$ python data_pipeline/run.py show URI
$ python data_pipeline/run.py list LAKE
$ python data_pipeline/run.py remove URI
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

from data_pipeline.cli.command import Refused, parse, print_json, run_command, say
from data_pipeline.config import (
    GROUPS,
    RENAMED,
    Command,
    ListConfig,
    RemoveConfig,
    ShardConfig,
    ShowConfig,
    VerifyConfig,
)

_MEGABYTE = 10**6


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config: Any = parse(
        Command,
        argv,
        prog="data_pipeline/run.py",
        description=str(__doc__),
        renamed=RENAMED,
        groups=GROUPS,
    )
    match config:
        case ShardConfig():
            return _shard(config)
        case VerifyConfig():
            return _verify(config)
        case ShowConfig():
            return _show(config)
        case ListConfig():
            return _list(config)
        case _:
            return _remove(config)


def _room(name: str) -> Any:
    """A module of this room, loaded when it is needed: Ray and MLflow take seconds."""
    return import_module(f"data_pipeline.{name}")


def _shard(config: ShardConfig) -> int:
    began = time.monotonic()
    built = _room("build.build").build(config)
    state = "already there" if built.already_there else "written"
    size = f"{built.videos} videos, {built.frames} frames, {built.bytes / _MEGABYTE:.1f} MB"
    say(f"{built.uri}: {state}, {size}\ndigest {built.digest}")
    for remark in built.remarks:
        say(remark)
    if config.json:
        print_json(
            {
                "digest": built.digest,
                "uri": built.uri,
                "videos": built.videos,
                "frames": built.frames,
                "bytes": built.bytes,
                "seconds": round(time.monotonic() - began, 3),
                "rejected": built.rejected,
            }
        )
    return 0


def _verify(config: VerifyConfig) -> int:
    began = time.monotonic()
    checked = _room("inspection.verify").verify(config.uri)
    for difference in checked.differences:
        say(difference)
    if not checked.differences:
        say(f"{checked.uri}: {checked.files} files, all as in the manifest")
    if config.json:
        print_json(
            {
                "digest": checked.digest,
                "uri": checked.uri,
                "files": checked.files,
                "bytes": checked.bytes,
                "seconds": round(time.monotonic() - began, 3),
                "differences": checked.differences,
            }
        )
    if checked.differences:
        raise Refused(f"{checked.uri} differs from its manifest in {len(checked.differences)} ways")
    return 0


def _show(config: ShowConfig) -> int:
    room = _room("inspection.show")
    shown = room.show(config)
    say(room.text(shown))
    if config.json:
        print_json(asdict(shown))
    return 0


def _list(config: ListConfig) -> int:
    room = _room("inspection.listing")
    found = room.list_data_sets(config.lake)
    say(room.table(found) if found else f"{config.lake}: no data sets")
    if config.json:
        print_json({"lake": config.lake, "data_sets": [asdict(one) for one in found]})
    return 0


def _remove(config: RemoveConfig) -> int:
    room = _room("inspection.remove")
    if config.older_than is None:
        removed = room.remove_data_set(config, _references)
    else:
        removed = room.remove_abandoned(config)
    done = "would remove" if config.dry_run else "removed"
    for what in removed.removed:
        say(f"{done} {what}")
    say(f"{done} {removed.files} files, {removed.bytes / _MEGABYTE:.1f} MB")
    if config.json:
        print_json({**asdict(removed), "dry_run": config.dry_run})
    return 0


def _references(tracking_uri: str, digest: str) -> tuple[str, ...]:
    return tuple(_room("inspection.references").references(tracking_uri, digest))


if __name__ == "__main__":
    sys.exit(main())
