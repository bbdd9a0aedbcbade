"""The report as one HTML page without any other file, readable in light and in dark.

`page.html` is its template, which escapes everything but `Markup`; here is what it is given.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from mlops.evaluation import floors
from mlops.evaluation.columns import BY_KEY
from mlops.evaluation.results import Evaluation, by_video
from mlops.promotion import gate
from mlops.reporting import comparisons, figures
from mlops.reporting.content import ReportContent
from mlops.tracking import names

_LABELS = {
    names.SUBJECT_CANDIDATE: "This version",
    names.SUBJECT_CHAMPION: "Champion at the time",
    **{one.subject: one.label for one in reversed(floors.FLOORS)},
}
_FLOORS = {
    names.FLOORS_CLASSICAL: "best classical fill",
    names.FLOORS_TRIVIAL: "weak floors only: mean fills",
    "": "",
}


def page(content: ReportContent) -> str:
    """Render the whole page."""
    version, evaluation, rule = content.version, content.evaluation, content.rule
    word, tone = _standing(content)
    return _template().render(
        content=content,
        name=f"{version.name} version {version.version}" if version else "Not registered yet",
        badge={"word": word, "tone": tone},
        lead=[sentence for sentence in _lead(content) if sentence],
        scores=_scores(evaluation) if evaluation else None,
        comparisons=comparisons.comparisons(evaluation, rule) if evaluation else [],
        strips=comparisons.strips(content.drawings),
        curves=[figures.curves(title, series) for title, series in content.curves.items()],
        decision=_decision(content),
        weak_floors=gate.WEAK_FLOORS,
        history=_history(content),
        use=_use(content),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _lead(content: ReportContent) -> list[str]:
    """Sentences below the title."""
    clips = content.lineage.clips if content.lineage else str(_last_clip(content))
    lost = _lost_evaluation(content)
    verdict = comparisons.verdict(content.evaluation, content.rule)
    weak = content.judged is not None and content.judged.weak
    return [
        f"Its evaluation is {lost}." if lost else verdict,
        Markup("Trained by run <b>{}</b> on {} clips.").format(content.run_name, clips),
        _against(content.evaluation),
        Markup("It was <b>{}</b>.").format(gate.WEAK_FLOORS) if weak else "",
    ]


def _lost_evaluation(content: ReportContent) -> str:
    """`deleted` or `gone` where its evaluation is; "" where it is there."""
    return content.lineage.evaluation_state if content.lineage else ""


def _last_clip(content: ReportContent) -> int:
    """Clips seen when the training run last said something."""
    ends = [curve[-1][0] for series in content.curves.values() for curve in series.values()]
    return int(max(ends, default=0))


def _standing(content: ReportContent) -> tuple[str, str]:
    """(word, tone) of the badge."""
    if names.CHAMPION in content.aliases:
        weak = content.judged is not None and content.judged.weak
        return ("champion by weak floors", "calm") if weak else ("champion", "good")
    if content.decided and content.decided.word == names.DECISION_REFUSED:
        return "refused", "bad"
    if content.decided:
        return "former champion", "calm"
    if _lost_evaluation(content):
        return f"evaluation {_lost_evaluation(content)}", "calm"
    return ("evaluated, not decided" if content.evaluation else "not evaluated"), "calm"


def _against(evaluation: Evaluation | None) -> str:
    if evaluation is None or evaluation.against is None:
        return ""
    apart = _level(evaluation, names.SUBJECT_CANDIDATE) - _level(evaluation, names.SUBJECT_CHAMPION)
    said = Markup("Against version {} it has <b>{} dB</b>.")
    return said.format(evaluation.against, f"{apart:+.2f}")


def _level(evaluation: Evaluation, subject: str, column: str = names.HOLE_PSNR) -> float:
    return evaluation.means[f"{subject}/{column}"]


def _scores(evaluation: Evaluation) -> dict[str, Any]:
    subjects = [one for one in _LABELS if f"{one}/{names.HOLE_PSNR}" in evaluation.means]
    return {
        "tiles": _tiles(evaluation),
        "tables": [
            _table(evaluation, subjects, "", "Mean over videos"),
            _table(evaluation, subjects, names.OVER_FRAMES, "Mean over frames"),
        ],
        "clips": len({score.position for score in evaluation.scores}),
        "videos": len({score.video for score in evaluation.scores}),
        "protocol": evaluation.protocol.name,
        "not_measured": [
            (BY_KEY[key].label, cure) for key, cure in evaluation.protocol.not_measured().items()
        ],
        "fills": [one for one in floors.FLOORS if one.subject in subjects],
        "dots": _dots(evaluation),
    }


def _tiles(evaluation: Evaluation) -> list[dict[str, str]]:
    candidate = names.SUBJECT_CANDIDATE
    ours = _level(evaluation, candidate)
    floor, what = _floor(evaluation)
    speed = evaluation.means.get(f"{candidate}/{names.SECONDS_PER_FRAME}", float("nan"))
    tiles = [
        (f"{ours:.2f}", "dB", "PSNR inside the hole"),
        (f"{ours - floor:+.2f}", "dB", f"against {what}"),
        (f"{_level(evaluation, candidate, names.HOLE_SSIM):.3f}", "", "SSIM inside the hole"),
        (f"{1000 * speed:.1f}", "ms", "per frame"),
    ]
    if evaluation.against is not None:
        champion = _level(evaluation, names.SUBJECT_CHAMPION)
        tiles.insert(2, (f"{ours - champion:+.2f}", "dB", f"against version {evaluation.against}"))
    return [{"value": value, "unit": unit, "label": label} for value, unit, label in tiles]


def _floor(evaluation: Evaluation) -> tuple[float, str]:
    """Hole PSNR in dB of the best fill that was scored, and what to call it."""
    best = gate.best_classical(evaluation.means)
    if best is not None:
        return best[1], "the best classical fill"
    means = (_level(evaluation, one) for one in names.TRIVIAL_SUBJECTS)
    return max(means), "the better mean fill (no other was scored)"


def _table(
    evaluation: Evaluation, subjects: Iterable[str], suffix: str, title: str
) -> dict[str, Any]:
    """One row for each subject, the best number of each column marked."""
    columns = [
        one
        for one in evaluation.protocol.measured()
        if f"{names.SUBJECT_CANDIDATE}/{one.key}{suffix}" in evaluation.means
    ]
    rows = []
    for subject in subjects:
        cells = []
        for one in columns:
            every = [evaluation.means[f"{other}/{one.key}{suffix}"] for other in subjects]
            value = evaluation.means[f"{subject}/{one.key}{suffix}"]
            best = max(every) if one.more_is_better else min(every)
            cells.append({"text": f"{value:.{one.digits}f}", "best": value == best})
        label = _LABELS[subject]
        if subject == names.SUBJECT_CHAMPION:
            label += f" (version {evaluation.against})"
        ours = subject == names.SUBJECT_CANDIDATE
        rows.append({"label": label, "ours": ours, "cells": cells})
    return {"title": title, "columns": columns, "rows": rows}


def _dots(evaluation: Evaluation) -> Markup:
    """The version, the best fill and the champion by video; of a single one, by clip."""
    best = gate.best_classical(evaluation.means)
    shown = [best[0]] if best else list(names.TRIVIAL_SUBJECTS)
    # The champion last: every other subject keeps its colour when there is none.
    ordered = [names.SUBJECT_CANDIDATE, *shown]
    ordered += [names.SUBJECT_CHAMPION] if evaluation.against is not None else []
    videos = by_video(evaluation.scores, evaluation.protocol)
    if len(videos[names.SUBJECT_CANDIDATE]) > 1:
        series = {
            _LABELS[subject]: [values[names.HOLE_PSNR] for values in videos[subject].values()]
            for subject in ordered
        }
        return figures.dots("PSNR inside the hole, video by video", "video", "dB", series)
    series = {
        _LABELS[subject]: [
            score.hole_psnr_db for score in evaluation.scores if score.subject == subject
        ]
        for subject in ordered
    }
    return figures.dots("PSNR inside the hole, clip by clip", "clip", "dB", series)


def _decision(content: ReportContent) -> dict[str, Any] | None:
    decided = content.decided
    if decided is None:
        return None
    none = decided.before == names.NO_VERSION
    return {
        "word": decided.word,
        "promoted": decided.word == names.DECISION_PROMOTED,
        "who": decided.who,
        "before": "no champion" if none else f"version {decided.before}",
        "reasons": [one for one in decided.reasons if one != gate.WEAK_FLOORS],
        "weak": decided.weak,
    }


def _history(content: ReportContent) -> list[tuple[str, ...]]:
    """A row for each decision, the newest first."""
    return [
        (
            f"{entry.when:%Y-%m-%d %H:%M}",
            entry.word,
            entry.version,
            f"{entry.before} → {entry.after}",
            entry.who,
            _FLOORS[entry.floors],
        )
        for entry in reversed(content.history)
    ]


def _use(content: ReportContent) -> str:
    """The command that uses the version, "" without one."""
    if content.version is None:
        return ""
    alias = f"@{content.aliases[0]}" if content.aliases else f"/{content.version.version}"
    model = f"models:/{content.version.name}{alias}"
    return f"python mlops/inpaint.py VIDEO MASK OUT.mp4 --model {model}"
