"""Summarises a data set: counts, sizes, histograms and a contact sheet."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.cli.command import UserError
from data_pipeline.cli.formatting import aligned, human_bytes
from data_pipeline.config import ShowConfig
from data_pipeline.format import manifest
from data_pipeline.format.catalogue import (
    CATALOGUE,
    OK,
    VideoRow,
    decode_catalogue,
    decode_table,
)
from data_pipeline.format.manifest import Manifest
from data_pipeline.inspection.contact_sheet import draw_sheet, evenly_spaced, read_strips
from data_pipeline.read.files import Files
from data_pipeline.read.reader import DataSet
from data_pipeline.storage import lake

NO_SHEET = "none"

_BINS = 8  # about so many in a histogram
_BAR = 40  # characters of the longest bar
_MASKED_VIDEOS, _MASKED_FRAMES = 32, 8  # looked at for the share of holes
_REASONS = 10  # that are printed


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Distribution of whole numbers."""

    edges: tuple[int, ...]
    """Edges of the bins, one more than bins; a bin includes its lower edge only."""
    counts: tuple[int, ...]
    """Values in each bin."""
    smallest: int
    median: int
    largest: int


@dataclass(frozen=True, slots=True)
class Split:
    """Size of one split of the data set."""

    videos: int
    frames: int


@dataclass(frozen=True, slots=True)
class Masks:
    """The masks of one kind."""

    variants: int
    """Number of mask variants of all videos together."""
    hole_share: float
    """Share of a frame that is hole, 0 to 1: the mean over some frames of some videos."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Contents of a data set."""

    uri: str
    digest: str
    created: str
    """Time in ISO 8601."""
    width: int
    """Width of the frames, pixels."""
    height: int
    files: int
    bytes: int
    """Size of all files but the manifest."""
    frame_bytes: int
    mask_bytes: int
    splits: Mapping[str, Split]
    """By name."""
    rejected: Mapping[str, int]
    """Reason -> videos left out for it."""
    lengths: Histogram | None
    """Frames of the videos; None where there are no videos."""
    sizes: Histogram | None
    """Bytes of the frames."""
    masks: Mapping[str, Masks]
    """By kind."""
    sources: Mapping[str, int]
    """Width x height before frames were resized -> videos."""
    sheet: str
    """File of the contact sheet; "" when none was drawn."""


def show(config: ShowConfig) -> Summary:
    """Summarise a data set and draw its contact sheet.

    Raises:
        UserError: there is no data set, or the sheet cannot be written, or would lie in it.
        CorruptData: a frame that is drawn is not what was written.
    """
    uri = lake.absolute(config.uri)
    made = manifest.load(uri)
    sheet = _sheet(config, uri)
    rows = decode_catalogue(lake.read_bytes(lake.join(uri, CATALOGUE)))
    good = [row for row in rows if row.status == OK]
    # Read in place: a few frames are not worth a copy of their shards.
    data = DataSet(made, Files(uri, made.payload, None))
    return Summary(
        uri=uri,
        digest=made.digest,
        created=str(made.provenance.get("created", "")),
        width=data.width,
        height=data.height,
        files=len(made.payload),
        bytes=sum(file.size for file in made.payload.values()),
        frame_bytes=sum(row.frame_bytes for row in good),
        mask_bytes=sum(row.masks_size for row in good),
        splits=_splits(good),
        rejected=_most_first(row.reason for row in rows if row.status != OK),
        lengths=histogram(np.array([row.frames for row in good])),
        sizes=histogram(_frame_sizes(uri, made)),
        masks=_masks(data, good),
        sources=_most_first(f"{row.source_width}x{row.source_height}" for row in good),
        sheet=_write_sheet(sheet, uri, data) if good else "",
    )


def histogram(values: NDArray[np.integer]) -> Histogram | None:
    """Count whole numbers, [N], in about `_BINS` bins with round edges; None for no numbers."""
    if not len(values):
        return None
    low, high = int(values.min()), int(values.max())
    step = _round_step((high - low) / _BINS)
    edges = np.arange(low // step * step, high + step + 1, step)
    edges = edges[: np.searchsorted(edges, high, side="right") + 1]
    counts, _ = np.histogram(values, edges)
    return Histogram(
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        smallest=low,
        median=int(np.median(values)),
        largest=high,
    )


def text(shown: Summary) -> str:
    """Format a summary as text."""
    parts = [
        f"{shown.uri}\ndigest {shown.digest}\n"
        f"written {shown.created or 'at an unknown time'}; {human_bytes(shown.bytes)} in "
        f"{shown.files} files; frames of {shown.width}x{shown.height}",
        aligned(
            ("split", "videos", "frames"),
            [(name, f"{one.videos:,}", f"{one.frames:,}") for name, one in shown.splits.items()],
        ),
    ]
    if shown.rejected:
        reasons = list(shown.rejected.items())
        more = [f"  and {len(reasons) - _REASONS} more reasons"] if len(reasons) > _REASONS else []
        lines = [f"  {count:>6,}  {reason}" for reason, count in reasons[:_REASONS]]
        head = f"left out, videos: {sum(shown.rejected.values()):,}"
        parts.append("\n".join([head, *lines, *more]))
    for title, spread_ in (("frames a video", shown.lengths), ("bytes a frame", shown.sizes)):
        if spread_ is not None:
            parts.append(_bars(title, spread_))
    masks = [
        (kind, f"{one.variants:,}", f"{100 * one.hole_share:.1f} %")
        for kind, one in shown.masks.items()
    ]
    size = f"{human_bytes(shown.frame_bytes)} of frames, {human_bytes(shown.mask_bytes)} of masks"
    parts.append(aligned(("masks", "variants", "hole"), masks) + f"\n{size}")
    parts.append(aligned(("sources", "videos"), [(s, f"{n:,}") for s, n in shown.sources.items()]))
    return "\n\n".join([*parts, *([f"contact sheet: {shown.sheet}"] if shown.sheet else [])])


def _splits(rows: Iterable[VideoRow]) -> dict[str, Split]:
    videos, frames = Counter[str](), Counter[str]()
    for row in rows:
        videos[row.split] += 1
        frames[row.split] += row.frames
    return {split: Split(videos[split], frames[split]) for split in sorted(videos)}


def _most_first(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _frame_sizes(uri: str, made: Manifest) -> NDArray[np.integer]:
    """Return the size of every frame in bytes, [N]."""
    paths = sorted(path for path in made.payload if path.startswith("index/"))
    indexes = [decode_table(lake.read_bytes(lake.join(uri, path))) for path in paths]
    none = np.empty(0, np.int32)
    return np.concatenate([none, *(index["size"].to_numpy() for index in indexes)])


def _masks(data: DataSet, rows: Sequence[VideoRow]) -> dict[str, Masks]:
    variants = Counter(kind for row in rows for kind in row.mask_kinds)
    shares: dict[str, list[float]] = {kind: [] for kind in variants}
    videos = [video for split in data.splits for video in data.videos(split)]
    for at in evenly_spaced(len(videos), _MASKED_VIDEOS):
        frames = evenly_spaced(videos[at].frames, _MASKED_FRAMES)
        for variant, kind in enumerate(videos[at].mask_kinds):
            shares[kind].append(float(data.read_masks(videos[at], variant, frames).mean()))
    return {
        kind: Masks(variants[kind], float(np.mean(shares[kind] or [0.0])))
        for kind in sorted(variants)
    }


def _sheet(config: ShowConfig, uri: str) -> str:
    """Return the file of the contact sheet, "" for none: never one inside the data set."""
    if config.sheet == NO_SHEET:
        return ""
    target = lake.absolute(config.sheet or f"{'-'.join(uri.split('/')[-2:])}.png")
    if not target.lower().endswith(".png"):
        raise UserError(
            f"--sheet is {config.sheet!r}: give a name that ends in .png, or {NO_SHEET}"
        )
    if lake.is_s3(target) or lake.is_s3(uri):
        inside = target.startswith(f"{uri}/")
    else:
        inside = Path(target).resolve().is_relative_to(Path(uri).resolve())
    if inside:
        raise UserError(f"--sheet {target} lies in the data set: give a place outside of it")
    return target


def _write_sheet(target: str, uri: str, data: DataSet) -> str:
    if not target:
        return ""
    title = "   ".join(
        ["-".join(uri.split("/")[-2:]), data.digest[:12], f"{data.width}x{data.height}"]
    )
    lake.write_bytes(target, draw_sheet(title, read_strips(data)))
    return target


def _round_step(least: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20 ... that is at least `least`."""
    step = 1
    while step * 10 < least:
        step *= 10
    return next(step * factor for factor in (1, 2, 5, 10) if step * factor >= least)


def _bars(title: str, spread_: Histogram) -> str:
    lines = [
        f"{title}: {spread_.smallest:,} to {spread_.largest:,}, median {spread_.median:,}",
    ]
    most, digits = max(spread_.counts), len(f"{spread_.edges[-1]:,}")
    for low, high, count in zip(spread_.edges, spread_.edges[1:], spread_.counts, strict=False):
        bar = "█" * -(-_BAR * count // most)
        lines.append(f"  {low:>{digits},} - {high - 1:>{digits},}  {bar:<{_BAR}}  {count:,}")
    return "\n".join(lines)
