"""Door: write one self-contained page about a version or a training run.

`python mlops/report.py models:/sttn@champion --tracking-uri URI --out page.html`
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data_pipeline.door import UserError, parse, print_json, say
from mlops import tracking
from mlops.config import ReportConfig
from mlops.door import run_door
from mlops.page import page
from mlops.story import story_of


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(ReportConfig, argv, prog="report", description=str(__doc__))
    uri = tracking.absolute_uri(config.tracking_uri)
    if not config.out.absolute().parent.is_dir():
        raise UserError(f"{config.out}: its folder is not there; make it first")
    story = story_of(uri, config.subject)
    _write(config.out, page(story))
    about = story.version.uri if story.version else f"run {story.run_name}"
    say(f"{config.out}: report on {about}")
    if story.lineage:
        say(story.lineage.line())
    if config.json:
        version = story.version.uri if story.version else None
        print_json({"out": str(config.out.absolute()), "model": version, "run": story.run_id})
    return 0


def _write(path: Path, text: str) -> None:
    """Write a file that appears whole."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
