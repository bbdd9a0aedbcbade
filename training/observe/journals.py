"""Buffered metrics: journals of a run on a node's disk, and how each kind gets to MLflow."""

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray
from PIL import Image

from data_pipeline.cli.command import say
from data_pipeline.tracking import client_timeouts
from mlops.tracking import names, runs
from mlops.tracking.journal import Journal, Line, Taken, Unsendable
from mlops.tracking.runs import Point

CLOSE_S = 60.0  # for lines that are not sent yet at the end of a run


def open_journal(tracking_uri: str, run_id: str, of: str = "") -> Journal:
    """Open a journal of a run on this node; lines that an earlier process left in it are sent.

    Workers may outlive their driver for a while and still write to theirs: then a new one is made.

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
    """Send buffered lines of a run on this node, for a limited time; says how many stay."""
    end = time.monotonic() + CLOSE_S
    for folder in sorted(_base().glob(f"{run_id}-*")):
        with suppress(Taken):  # its own process sends it
            journal = _journal(tracking_uri, run_id, folder)
            left = journal.close(max(1.0, end - time.monotonic()))
            if left:
                say(f"MLflow: {left} buffered lines of the run stay in {folder}")


def _base() -> Path:
    return Path(tempfile.gettempdir()) / f"sttn-journal-{os.getuid()}"


def _journal(tracking_uri: str, run_id: str, folder: Path) -> Journal:
    client_timeouts.shorten()
    return Journal(folder, partial(_send, tracking_uri, run_id, folder))


def _send(tracking_uri: str, run_id: str, folder: Path, lines: Sequence[Line]) -> None:
    try:
        _log(tracking_uri, run_id, folder, lines)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        runs.get(tracking_uri, run_id)  # one that is deleted takes lines again when it is restored
        raise Unsendable(str(error)) from error


def _log(tracking_uri: str, run_id: str, folder: Path, lines: Sequence[Line]) -> None:
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
            image = _picture(file)
            if image is not None:
                shown = names.VALIDATION_PICTURE, image, line["clips"]
                runs.log_picture(tracking_uri, run_id, *shown)
        else:
            runs.log_file(tracking_uri, run_id, file, line["folder"])
        file.unlink()


def _picture(file: Path) -> NDArray[np.uint8] | None:
    """A picture as an array; None where the file is not whole: the disk was full, say."""
    try:
        with Image.open(file) as picture:
            return np.asarray(picture)
    except (OSError, SyntaxError, ValueError):  # Pillow raises each of them
        return None
