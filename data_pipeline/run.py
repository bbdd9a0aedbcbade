"""Door: build a data set from videos, or check one.

python data_pipeline/run.py shard --input VIDEO… --output URI --held-out ID…
python data_pipeline/run.py verify URI
"""

import sys
import time
from collections.abc import Sequence

from data_pipeline.build import build
from data_pipeline.check import verify
from data_pipeline.config import Command, ShardConfig, VerifyConfig
from data_pipeline.door import Refused, parse, print_json, run_door, say
from data_pipeline.plan import MEGABYTE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns the exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config: ShardConfig | VerifyConfig = parse(
        Command,
        argv,
        prog="data_pipeline/run.py",
        description="Build a data set from videos, or check one.",
    )
    if isinstance(config, ShardConfig):
        return _shard(config)
    return _verify(config)


def _shard(config: ShardConfig) -> int:
    began = time.monotonic()
    built = build(config)
    state = "already there" if built.already_there else "written"
    size = f"{built.videos} videos, {built.frames} frames, {built.bytes / MEGABYTE:.1f} MB"
    say(f"{built.uri}: {state}, {size}\ndigest {built.digest}")
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
    checked = verify(config.uri)
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


if __name__ == "__main__":
    sys.exit(main())
