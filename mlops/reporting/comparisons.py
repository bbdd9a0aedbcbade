"""Sections of the report that compare a version with the champion and the best classical fill.

Bounds are by the rule of the decision about the version, or the default one before any.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mlops.config import Rule
from mlops.evaluation import floors
from mlops.evaluation.results import ClipScore, Evaluation, best_floor
from mlops.media.pictures import CLIP_COLUMNS, FLOOR, STRIP_ROWS
from mlops.promotion import gate
from mlops.promotion.gate import AgainstFloor, Gain, Pairs
from mlops.reporting import figures
from mlops.reporting.content import Drawing
from mlops.tracking import names


@dataclass(frozen=True, slots=True)
class Listed:
    """A table that opens; the first cell of a row names it."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Gains over another subject: their mean with its bounds, a figure, tables."""

    title: str
    other: str
    """Label of the other."""
    mean: str
    """Mean gain, dB."""
    bounds: str
    """Number of videos and bounds of the mean, in words."""
    figure: Markup | None
    tables: list[Listed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """A strip of frames with its rows named, and the film below it."""

    caption: str
    rows: list[str]
    picture: str
    """Data URI of a PNG."""
    video: str
    """Data URI of an MP4, "" without one."""
    columns: list[str]
    """Parts of the video from left to right."""


def beside_floor(evaluation: Evaluation, rule: Rule) -> AgainstFloor | None:
    """Compare the version with the best classical fill; None where an old evaluation lacks one."""
    return gate.against_best_classical(evaluation.means, evaluation.hole_pairs(), rule)


def verdict(evaluation: Evaluation | None, rule: Rule) -> str:
    """Say in a sentence whether the version beats the best classical fill, and by how much."""
    if evaluation is None:
        return "It was not evaluated yet."
    found = beside_floor(evaluation, rule)
    if found is None:
        return (
            "Whether it beats the best classical fill is not known: its evaluation lacks them, "
            "evaluate it again."
        )
    if found.holds:
        said = "It beats {floor} by {apart} inside the hole {levels}."
    elif found.ours > found.theirs:
        said = (
            "It does not surely beat {floor} though it lies {apart} above it inside the hole "
            "{levels}: {bound}."
        )
    else:
        said = "It does not beat {floor} but lies {apart} below it inside the hole {levels}."
    label = floors.BY_SUBJECT[found.floor].label
    videos = "held-out videos" if evaluation.held_out else "videos that it was trained on"
    levels = Markup("(<b>{} dB</b> against {} dB on {})")
    return Markup(said).format(
        floor=Markup("the best classical fill, <b>{}</b>,").format(label),
        apart=Markup("<b>{} dB</b>").format(f"{abs(found.ours - found.theirs):.2f}"),
        levels=levels.format(f"{found.ours:.2f}", f"{found.theirs:.2f}", videos),
        bound=found.said.partition("; ")[2],
    )


def comparisons(evaluation: Evaluation, rule: Rule) -> list[Comparison]:
    """Compare the version with the best classical fill, and with the champion of that time."""
    found = beside_floor(evaluation, rule)
    pairs = evaluation.hole_pairs()
    made = []
    if found is not None:
        label = floors.BY_SUBJECT[found.floor].label
        every = [_every_clip(evaluation)]
        title = "Against the best classical fill"
        made.append(_comparison(title, label, pairs[found.floor], rule, every))
    if evaluation.against is not None:
        label = f"Version {evaluation.against}"
        champion = pairs.get(names.SUBJECT_CHAMPION, {})
        made.append(_comparison("Against the champion", label, champion, rule, []))
    return [one for one in made if one is not None]


def strips(drawings: Sequence[Drawing]) -> list[Strip]:
    """The results of the version on its worst and best clips, beside the clip's best fill."""
    shown = []
    for at, drawing in enumerate(drawings):
        word = "Among the worst" if at < len(drawings) / 2 else "Among the best"
        rows, columns = (
            [one for one in parts if one != FLOOR or drawing.floor is not None]
            for parts in (STRIP_ROWS, CLIP_COLUMNS)
        )
        shown.append(
            Strip(
                caption=f"{word}: {_caption(drawing)}",
                rows=rows,
                picture=_inline("image/png", drawing.strip),
                video=_inline("video/mp4", drawing.clip) if drawing.clip else "",
                columns=columns,
            )
        )
    return shown


def _comparison(
    title: str, other: str, pairs: Pairs, rule: Rule, more: Sequence[Listed]
) -> Comparison | None:
    """None where no video was scored for both."""
    found = gate.gain(pairs, rule)
    if found is None:
        return None
    gains = sorted(gate.gains(pairs).items(), key=lambda one: one[1])
    rows = [
        (video, f"{pairs[video][0]:.2f}", f"{pairs[video][1]:.2f}", f"{gain:+.2f}")
        for video, gain in gains
    ]
    head = ("Video", "This version, dB", f"{other}, dB", "Gain, dB")
    return Comparison(
        title=title,
        other=other,
        mean=f"{found.mean:+.3f}",
        bounds=_bounded(found, rule),
        figure=_figure(other, found, [gain for _, gain in gains]),
        tables=[Listed("Every video", head, rows), *more],
    )


def _bounded(found: Gain, rule: Rule) -> str:
    """How many videos the mean is of, and its bounds where there are enough for any."""
    if found.videos == 1:
        return "1 video, of which a mean has no bounds."
    return (
        f"{found.videos} videos; the mean is above {found.low:+.3f} dB and below "
        f"{found.high:+.3f} dB, each with {rule.confidence:.1%} confidence (paired "
        "bootstrap over videos)."
    )


def _figure(other: str, found: Gain, values: Sequence[float]) -> Markup | None:
    if found.videos == 1:
        return None
    bounds = (found.low, found.mean, found.high)
    return figures.gains(f"Hole PSNR against {other}", values, bounds)


def _every_clip(evaluation: Evaluation) -> Listed:
    """Each clip beside the classical fill that is the best of this clip."""
    of_clip: dict[int, list[ClipScore]] = {}
    for score in evaluation.scores:
        of_clip.setdefault(score.position, []).append(score)
    rows = []
    for _, scores in sorted(of_clip.items()):
        ours = next(one for one in scores if one.subject == names.SUBJECT_CANDIDATE)
        floor = best_floor(scores)
        if floor is not None:
            rows.append(
                (
                    _where(ours),
                    f"{ours.hole_psnr_db:.2f}",
                    f"{floors.BY_SUBJECT[floor.subject].label} {floor.hole_psnr_db:.2f}",
                    f"{ours.hole_psnr_db - floor.hole_psnr_db:+.2f}",
                )
            )
    above = sum(row[-1].startswith("+") for row in rows)
    title = f"Every clip: above its own best classical fill on {above} of {len(rows)}"
    head = ("Clip", "This version, dB", "Best fill of the clip, dB", "Gain, dB")
    return Listed(title, head, rows)


def _caption(drawing: Drawing) -> str:
    ours, floor = drawing.score, drawing.floor
    beside = ""
    if floor is not None:
        beside = (
            f", {ours.hole_psnr_db - floor.hole_psnr_db:+.2f} dB against "
            f"{floors.BY_SUBJECT[floor.subject].label}, the best classical fill of this clip"
        )
    return f"{ours.hole_psnr_db:.2f} dB in the hole{beside}. Video {_where(ours)}"


def _where(score: ClipScore) -> str:
    last = score.first_frame + score.frames - 1
    return f"{score.video}, frames {score.first_frame} to {last}, {score.mask_kind} hole"


def _inline(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
