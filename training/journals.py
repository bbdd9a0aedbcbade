"""Where lines about a run wait on a node, and how each kind gets to MLflow."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipeline.door import say
from mlops import names, tracking
from mlops.journal import Journal, Line
from mlops.tracking import Point

CLOSE_S = 60.0  # for what is not sent yet at the end of a run


def folder_of(run_id: str, of: str = "") -> Path:
    """Where this node keeps the lines of a run, or those `of` something beside it."""
    base = Path(tempfile.gettempdir()) / f"sttn-journal-{os.getuid()}"
    return base / "-".join(filter(None, (run_id, of)))


def opened(tracking_uri: str, run_id: str, of: str = "") -> Journal:
    """The journal of a run on this node; what an earlier process left there is sent.

    A line holds "values" with "clips" and "time_ms", or "tags", or names a file in the journal's
    folder that goes with it: a "picture" with "clips", or a "file" with the "folder" of artifacts.
    """
    tracking.impatient()
    waiting = folder_of(run_id, of)

    def send(lines: Sequence[Line]) -> None:
        points = [
            Point(line["clips"], line["time_ms"], line["values"])
            for line in lines
            if "values" in line
        ]
        tracking.log_points(tracking_uri, run_id, points)
        for line in lines:
            if "tags" in line:
                tracking.set_run_tags(tracking_uri, run_id, line["tags"])
            file = waiting / (line.get("picture") or line.get("file") or "")
            if not file.is_file():
                continue
            if "picture" in line:
                with Image.open(file) as picture:
                    image = np.asarray(picture)
                shown = names.VALIDATION_PICTURE, image, line["clips"]
                tracking.log_picture(tracking_uri, run_id, *shown)
            else:
                tracking.log_file(tracking_uri, run_id, file, line["folder"])
            file.unlink()

    return Journal(waiting, send)


def replay(tracking_uri: str, run_id: str) -> None:
    """Send what a run left on this node, for a while; says what stays."""
    if folder_of(run_id).is_dir():
        left = opened(tracking_uri, run_id).close(CLOSE_S)
        if left:
            say(f"MLflow: {left} lines of the run still wait in {folder_of(run_id)}")
