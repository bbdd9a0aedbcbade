"""Warnings about a finished data set: videos of another shape, unusable annotations."""

from collections.abc import Mapping, Sequence
from typing import Any

from data_pipeline.build.tasks import ShardResult
from data_pipeline.cli.command import first_few
from data_pipeline.format.catalogue import OK, VideoRow
from data_pipeline.format.manifest import Manifest
from data_pipeline.sources.fit import FITTED, Fit, is_other_shape

_OTHER_SHAPE, _ANNOTATIONS = "other_shape", "annotations"


def with_fit(settings: Mapping[str, Any], fit: Fit, other_shape: Sequence[str]) -> dict[str, Any]:
    """Add `fit` to the settings where there are videos of another shape and they are not stretched.

    Left out it means `stretch`, which once was the only way: older digests stay the same.
    """
    said = {"fit": fit} if other_shape and fit != "stretch" else {}
    return {**settings, **said}


def found(shards: Sequence[ShardResult]) -> dict[str, Any]:
    """Collect the warnings that shards reported, for the provenance."""
    return {
        _OTHER_SHAPE: sorted(video for written in shards for video in written.other_shape),
        _ANNOTATIONS: {v: why for written in shards for v, why in written.annotations.items()},
    }


def other_shapes(made: Manifest, rows: Sequence[VideoRow]) -> list[str]:
    """List the ids of the videos that were of another shape than the data set's frames."""
    if _OTHER_SHAPE in made.provenance:
        return list(made.provenance[_OTHER_SHAPE])
    # Older data sets do not record it: it follows from the source size, without pixel aspect.
    size = made.settings["width"], made.settings["height"]
    return [
        row.id
        for row in rows
        if row.status == OK and is_other_shape((row.source_width, row.source_height), size)
    ]


def remarks(made: Manifest, rows: Sequence[VideoRow]) -> tuple[str, ...]:
    """Return the warnings about a data set, one line each."""
    lines = []
    if other := other_shapes(made, rows):
        done = FITTED[made.settings.get("fit", "stretch")]
        size = f"{made.settings['width']}x{made.settings['height']}"
        verb = "is" if len(other) == 1 else "are"
        lines.append(
            f"{_videos(len(other))} {verb} of another shape than {size} and {verb} {done} "
            f"({first_few(other)}): --fit crop, letterbox or stretch chooses"
        )
    if odd := made.provenance.get(_ANNOTATIONS):
        few = first_few((f"{video} {why}" for video, why in odd.items()), between="; ")
        lines.append(f"annotations of {_videos(len(odd))} give no object masks: {few}")
    return tuple(lines)


def _videos(count: int) -> str:
    return "1 video" if count == 1 else f"{count} videos"
