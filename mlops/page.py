"""The HTML of the report: one page without any other file, readable in light and in dark."""

import base64
import html
from collections.abc import Iterable, Mapping

from mlops import figures, gate, names
from mlops.columns import BY_KEY
from mlops.pictures import CLIP_COLUMNS, STRIP_ROWS
from mlops.results import Evaluation, by_video
from mlops.story import Story
from mlops.style import CSS

_LABELS = {
    names.SUBJECT_CANDIDATE: "This version",
    names.SUBJECT_CHAMPION: "Champion at the time",
    names.SUBJECT_FRAME_MEAN: "Trivial: mean of the frame",
    names.SUBJECT_RING_MEAN: "Trivial: mean of a ring round the hole",
}


def page(story: Story) -> str:
    """The whole page."""
    title = story.version.uri if story.version else story.run_name
    sections = [
        _head(story),
        _numbers(story.evaluation),
        _comparison(story.evaluation),
        _clips(story),
        _curves(story),
        _decision(story),
        _facts("Data set", story.data),
        _lineage(story),
        _history(story),
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
    tables = [
        _table(evaluation, subjects, "", "Mean over videos"),
        _table(evaluation, subjects, names.OVER_FRAMES, "Mean over frames"),
    ]
    clips = len({score.position for score in evaluation.scores})
    videos = len({score.video for score in evaluation.scores})
    held_out = "1 held-out video" if videos == 1 else f"{videos} held-out videos"
    missing = "".join(
        f"<li>{_text(BY_KEY[key].label)}: not measured, {_text(cure)}</li>"
        for key, cure in evaluation.protocol.not_measured().items()
    )
    return (
        f'<section><h2>Scores</h2>{"".join(tables)}<p class="note">{clips} fixed clips of '
        f"{held_out}, protocol <b>{_text(evaluation.protocol.name)}</b>.</p>"
        f'<ul class="note">{missing}</ul>'
        f"<figure>{_dots(evaluation, subjects)}</figure></section>"
    )


def _table(evaluation: Evaluation, subjects: Iterable[str], suffix: str, title: str) -> str:
    """One row for each subject, the best number of each column marked."""
    columns = [
        one
        for one in evaluation.protocol.measured()
        if f"{names.SUBJECT_CANDIDATE}/{one.key}{suffix}" in evaluation.means
    ]
    head = "".join(
        f'<th title="{_text(one.definition)}">{one.label} <small>{one.unit} '
        f"{'↑' if one.more_is_better else '↓'}</small></th>"
        for one in columns
    )
    rows = []
    for subject in subjects:
        cells = []
        for one in columns:
            every = [evaluation.means[f"{other}/{one.key}{suffix}"] for other in subjects]
            value = evaluation.means[f"{subject}/{one.key}{suffix}"]
            best = max(every) if one.more_is_better else min(every)
            kind = ' class="best"' if value == best else ""
            cells.append(f"<td{kind}>{value:.{one.digits}f}</td>")
        label = _LABELS[subject]
        if subject == names.SUBJECT_CHAMPION:
            label += f" (version {evaluation.against})"
        ours = ' class="ours"' if subject == names.SUBJECT_CANDIDATE else ""
        rows.append(f"<tr{ours}><th>{label}</th>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll"><table class="scores"><thead><tr><th>{title}</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _dots(evaluation: Evaluation, subjects: Iterable[str]) -> str:
    """Video by video; of a single one, clip by clip."""
    # The champion last: every other subject keeps its colour when there is none.
    ordered = sorted(subjects, key=lambda one: one == names.SUBJECT_CHAMPION)
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


def _comparison(evaluation: Evaluation | None) -> str:
    """Candidate less champion on each video, with the bounds of the mean."""
    if evaluation is None or evaluation.against is None:
        return ""
    pairs = evaluation.hole_pairs()
    found = gate.gain(pairs, gate.Rule())
    if found is None:
        return ""
    gains = sorted(gate.gains(pairs).items(), key=lambda one: one[1])
    rows = "".join(
        f"<tr><th>{_text(video)}</th><td>{pairs[video][0]:.2f}</td><td>{pairs[video][1]:.2f}</td>"
        f"<td>{gain:+.2f}</td></tr>"
        for video, gain in gains
    )
    figure = figures.gains(
        f"Hole PSNR against version {evaluation.against}",
        [gain for _, gain in gains],
        (found.low, found.mean, found.high),
    )
    confidence = gate.Rule().confidence
    return (
        f"<section><h2>Against the champion</h2><p>Over {found.videos} videos "
        f"<b>{found.mean:+.3f} dB</b> on average; the mean is above {found.low:+.3f} dB and below "
        f"{found.high:+.3f} dB, each with {confidence:.0%} confidence (paired bootstrap over "
        f"videos).</p><figure>{figure}</figure>"
        '<details><summary>Every video</summary><div class="scroll"><table class="scores"><thead>'
        f"<tr><th>Video</th><th>This version <small>dB</small></th><th>Version "
        f"{evaluation.against} <small>dB</small></th><th>Gain <small>dB</small></th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></details></section>"
    )


def _clips(story: Story) -> str:
    if not story.drawings:
        return ""
    shown = []
    for at, drawing in enumerate(story.drawings):
        score = drawing.score
        word = "Among the worst" if at < len(story.drawings) / 2 else "Among the best"
        caption = (
            f"{word}: {score.hole_psnr_db:.2f} dB in the hole. Video {score.video}, frames "
            f"{score.first_frame} to {score.first_frame + score.frames - 1}, {score.mask_kind} hole"
        )
        labels = "".join(f"<span>{row}</span>" for row in STRIP_ROWS)
        film = ""
        if drawing.clip:
            film = (
                f'<video src="{_inline("video/mp4", drawing.clip)}" controls loop muted '
                f"playsinline></video><figcaption>{', '.join(CLIP_COLUMNS)}</figcaption>"
            )
        shown.append(
            f'<figure class="strip"><figcaption>{_text(caption)}</figcaption>'
            f'<div class="rows">{labels}</div><img src="{_inline("image/png", drawing.strip)}" '
            f'alt="{_text(caption)}: {", ".join(STRIP_ROWS)}">{film}</figure>'
        )
    return (
        '<section><h2>Worst and best</h2><p class="note">Rows: the input with what is to be filled '
        f"in red, what the model sees, its answer, the truth.</p>{''.join(shown)}</section>"
    )


def _inline(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _history(story: Story) -> str:
    if not story.history:
        return ""
    rows = "".join(
        f"<tr><td>{entry.when:%Y-%m-%d %H:%M}</td><td>{_text(entry.word)}</td>"
        f"<td>{_text(entry.version)}</td><td>{_text(entry.before)} → {_text(entry.after)}</td>"
        f"<td>{_text(entry.who)}</td></tr>"
        for entry in reversed(story.history)
    )
    return (
        '<section><h2>All decisions</h2><div class="scroll"><table class="scores"><thead><tr>'
        "<th>When (UTC)</th><th>What</th><th>Version</th><th>Champion</th><th>Who</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
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
