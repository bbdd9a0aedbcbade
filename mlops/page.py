"""The HTML of the report: one page without any other file, readable in light and in dark."""

import base64
import html
from collections.abc import Iterable, Mapping

from mlops import figures, names
from mlops.results import Evaluation
from mlops.story import Story
from mlops.style import CSS

_LABELS = {
    names.SUBJECT_CANDIDATE: "This version",
    names.SUBJECT_CHAMPION: "Champion at the time",
    names.SUBJECT_FRAME_MEAN: "Trivial: mean of the frame",
    names.SUBJECT_RING_MEAN: "Trivial: mean of a ring round the hole",
}
_COLUMNS = (
    (names.HOLE_PSNR, "Hole PSNR", "dB", 2),
    (names.HOLE_SSIM, "Hole SSIM", "", 3),
    (names.PSNR, "Frame PSNR", "dB", 2),
    (names.SSIM, "Frame SSIM", "", 3),
)
_STRIP_ROWS = ("input", "hole", "result", "truth")


def page(story: Story) -> str:
    """The whole page."""
    title = story.version.uri if story.version else story.run_name
    sections = [
        _head(story),
        _numbers(story.evaluation),
        _strips(story),
        _curves(story),
        _decision(story),
        _facts("Data set", story.data),
        _lineage(story),
        _use(story),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)} - STTN</title><style>{CSS}</style></head>\n<body><main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main></body></html>\n"
    )


def _head(story: Story) -> str:
    word, tone = _standing(story)
    version = story.version
    name = f"{version.name} version {version.version}" if version else "Not registered yet"
    clips = story.lineage.clips if story.lineage else str(_last_clip(story))
    trained = f"Trained by run <b>{_text(story.run_name)}</b> on {_text(clips)} clips."
    said = _sentence(story.evaluation) if story.evaluation else "It was not evaluated yet."
    return (
        f'<header><p class="eyebrow">Video inpainting · STTN at scale</p><h1>{_text(name)} '
        f'<span class="badge {tone}">{word}</span></h1><p class="lead">{trained} {said}</p>'
        f"{_tiles(story.evaluation)}</header>"
    )


def _last_clip(story: Story) -> int:
    """Clips seen when the training run last said something."""
    ends = [curve[-1][0] for series in story.curves.values() for curve in series.values()]
    return int(max(ends, default=0))


def _standing(story: Story) -> tuple[str, str]:
    """(word, tone) of the badge."""
    if names.CHAMPION in story.aliases:
        return "champion", "good"
    if story.decided and story.decided.word == names.DECISION_REFUSED:
        return "refused", "bad"
    if story.decided:
        return "former champion", "calm"
    return ("evaluated, not decided" if story.evaluation else "not evaluated"), "calm"


def _sentence(evaluation: Evaluation) -> str:
    ours, best, champion = _hole_levels(evaluation)
    said = (
        f"Inside the hole it reaches <b>{ours:.2f} dB</b> on videos it never saw, "
        f"<b>{ours - best:+.2f} dB</b> against the better of two trivial fills"
    )
    if champion is not None:
        said += f" and <b>{ours - champion:+.2f} dB</b> against version {evaluation.against}"
    return said + "."


def _hole_levels(evaluation: Evaluation) -> tuple[float, float, float | None]:
    """Hole PSNR in dB: this version, better trivial fill, champion."""

    def level(subject: str) -> float:
        return evaluation.means[f"{subject}/{names.HOLE_PSNR}"]

    champion = level(names.SUBJECT_CHAMPION) if evaluation.against else None
    return level(names.SUBJECT_CANDIDATE), max(map(level, names.TRIVIAL_SUBJECTS)), champion


def _tiles(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return ""
    ours, best, champion = _hole_levels(evaluation)
    ours_of = names.SUBJECT_CANDIDATE
    speed = evaluation.means.get(f"{ours_of}/{names.SECONDS_PER_FRAME}", float("nan"))
    tiles = [
        (f"{ours:.2f}", "dB", "PSNR inside the hole"),
        (f"{ours - best:+.2f}", "dB", "against the better trivial fill"),
        (f"{evaluation.means[f'{ours_of}/{names.HOLE_SSIM}']:.3f}", "", "SSIM inside the hole"),
        (f"{1000 * speed:.1f}", "ms", "per frame"),
    ]
    if champion is not None:
        tiles.insert(2, (f"{ours - champion:+.2f}", "dB", f"against version {evaluation.against}"))
    items = (
        f'<li><span class="value">{value}<small>{unit}</small></span>{label}</li>'
        for value, unit, label in tiles
    )
    return f'<ul class="tiles">{"".join(items)}</ul>'


def _numbers(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return ""
    subjects = [one for one in _LABELS if f"{one}/{names.HOLE_PSNR}" in evaluation.means]
    best = {
        metric: max(evaluation.means[f"{subject}/{metric}"] for subject in subjects)
        for metric, *_ in _COLUMNS
    }
    head = "".join(
        f"<th>{label}{f' <small>{unit}</small>' if unit else ''}</th>"
        for _, label, unit, _ in _COLUMNS
    )
    rows = []
    for subject in subjects:
        cells = []
        for metric, _, _, digits in _COLUMNS:
            value = evaluation.means[f"{subject}/{metric}"]
            kind = ' class="best"' if value == best[metric] else ""
            cells.append(f"<td{kind}>{value:.{digits}f}</td>")
        label = _LABELS[subject]
        if subject == names.SUBJECT_CHAMPION:
            label += f" (version {evaluation.against})"
        ours = ' class="ours"' if subject == names.SUBJECT_CANDIDATE else ""
        rows.append(f"<tr{ours}><th>{label}</th>{''.join(cells)}</tr>")
    clips = len({score.position for score in evaluation.scores})
    videos = len({score.video for score in evaluation.scores})
    held_out = "1 held-out video" if videos == 1 else f"{videos} held-out videos"
    return (
        f'<section><h2>Scores</h2><div class="scroll"><table class="scores"><thead><tr><th></th>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="note">Mean over {clips} fixed clips of {held_out}; '
        "more is better in every column.</p>"
        f"<figure>{_per_clip(evaluation, subjects)}</figure></section>"
    )


def _per_clip(evaluation: Evaluation, subjects: Iterable[str]) -> str:
    series = {
        _LABELS[subject]: [
            score.hole_psnr_db for score in evaluation.scores if score.subject == subject
        ]
        # The champion last: every other subject keeps its colour when there is none.
        for subject in sorted(subjects, key=lambda one: one == names.SUBJECT_CHAMPION)
    }
    return figures.dots("PSNR inside the hole, clip by clip", "clip", "dB", series)


def _strips(story: Story) -> str:
    shown = []
    for name, png in story.strips.items():
        subject, _, number = name.rpartition("-")
        if subject != names.SUBJECT_CANDIDATE:
            continue
        source = "data:image/png;base64," + base64.b64encode(png).decode()
        labels = "".join(f"<span>{row}</span>" for row in _STRIP_ROWS)
        shown.append(
            f'<figure class="strip"><div class="rows">{labels}</div>'
            f'<img src="{source}" alt="Frames of clip {int(number) + 1}: input, hole, result, '
            f'truth"><figcaption>Clip {int(number) + 1}</figcaption></figure>'
        )
    if not shown:
        return ""
    return (
        '<section><h2>Frames</h2><p class="note">Rows: the input with what is to be filled in red, '
        f"what the model sees, its answer, the truth.</p>{''.join(shown)}</section>"
    )


def _curves(story: Story) -> str:
    if not story.curves:
        return ""
    drawn = (f"<figure>{figures.curves(*one)}</figure>" for one in story.curves.items())
    return f'<section><h2>Training</h2><div class="pair">{"".join(drawn)}</div></section>'


def _decision(story: Story) -> str:
    decided = story.decided
    if decided is None:
        return ""
    promoted = decided.word == names.DECISION_PROMOTED
    reasons = "".join(f"<li>{_text(reason)}</li>" for reason in decided.reasons)
    before = "no champion" if decided.before == names.NO_VERSION else f"version {decided.before}"
    return (
        f'<section><h2>Decision</h2><p><span class="badge {"good" if promoted else "bad"}">'
        f"{_text(decided.word)}</span> by {_text(decided.who)}; before: {_text(before)}.</p>"
        f'<ul class="reasons {"yes" if promoted else "no"}">{reasons}</ul></section>'
    )


def _facts(title: str, facts: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{_text(key)}</dt><dd>{_text(value)}</dd>" for key, value in facts.items())
    return f"<section><h2>{title}</h2><dl>{rows}</dl></section>" if rows else ""


def _lineage(story: Story) -> str:
    if story.lineage is None:
        return ""
    chain = "".join(
        f"<li><small>{_text(what)}</small>{_text(value)}</li>"
        for what, value in story.lineage.parts()
    )
    return (
        f'<section><h2>Lineage</h2><ol class="chain">{chain}</ol>'
        f'<p class="line"><code>{_text(story.lineage.line())}</code></p></section>'
    )


def _use(story: Story) -> str:
    if story.version is None:
        return ""
    alias = f"@{story.aliases[0]}" if story.aliases else f"/{story.version.version}"
    model = f"models:/{story.version.name}{alias}"
    command = f"python mlops/inpaint.py VIDEO MASK OUT.mp4 --model {model}"
    return f"<section><h2>Use it</h2><pre><code>{_text(command)}</code></pre></section>"


def _text(value: object) -> str:
    return html.escape(str(value))
