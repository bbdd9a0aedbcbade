"""Where lines about a run wait on a node, and how each kind gets to MLflow."""

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipeline.door import say
from mlops import names, runs, tracking
from mlops.journal import Journal, Line, Taken
from mlops.runs import Point

CLOSE_S = 60.0  # for what is not sent yet at the end of a run


def opened(tracking_uri: str, run_id: str, of: str = "") -> Journal:
    """A journal of a run on this node, or of something beside it; what was left there is sent.

    Workers that outlive their driver for a while may still write to theirs: then it is another.

    A line holds "values" with "clips" and "time_ms", or "tags", or names a file in the journal's
    folder that goes with it: a "picture" with "clips", or a "file" with the "folder" of artifacts.
    """
    number = 1
    while True:
        folder = _base() / "-".join(filter(None, (run_id, of, str(number))))
        try:
            return _journal(tracking_uri, run_id, folder)
        except Taken:
            number += 1


def replay(tracking_uri: str, run_id: str) -> None:
    """Send what a run left on this node, for a while; says what stays."""
    end = time.monotonic() + CLOSE_S
    for folder in sorted(_base().glob(f"{run_id}-*")):
        with suppress(Taken):  # whose process sends it
            journal = _journal(tracking_uri, run_id, folder)
            left = journal.close(max(1.0, end - time.monotonic()))
            if left:
                say(f"MLflow: {left} lines of the run still wait in {folder}")


def _base() -> Path:
    return Path(tempfile.gettempdir()) / f"sttn-journal-{os.getuid()}"


def _journal(tracking_uri: str, run_id: str, folder: Path) -> Journal:
    tracking.impatient()
    return Journal(folder, partial(_send, tracking_uri, run_id, folder))


def _send(tracking_uri: str, run_id: str, folder: Path, lines: Sequence[Line]) -> None:
    points = [
        Point(line["clips"], line["time_ms"], line["values"]) for line in lines if "values" in line
    ]
    runs.log_points(tracking_uri, run_id, points)
    for line in lines:
        if "tags" in line:
            runs.set_tags(tracking_uri, run_id, line["tags"])
        file = folder / (line.get("picture") or line.get("file") or "")
        if not file.is_file():
            continue
        if "picture" in line:
            with Image.open(file) as picture:
                image = np.asarray(picture)
            shown = names.VALIDATION_PICTURE, image, line["clips"]
            runs.log_picture(tracking_uri, run_id, *shown)
        else:
            runs.log_file(tracking_uri, run_id, file, line["folder"])
        file.unlink()
