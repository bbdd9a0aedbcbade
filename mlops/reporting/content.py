"""Everything the report says about a version or a training run, gathered as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.cli.command import UserError, nearest
from data_pipeline.read.reader import DataSet
from data_pipeline.tracking.store_errors import Deleted, Gone
from mlops.config import Rule
from mlops.evaluation import results
from mlops.evaluation.results import ClipScore, Evaluation, best_floor
from mlops.promotion import decisions
from mlops.promotion.decisions import Entry
from mlops.promotion.lineage import UNKNOWN, Lineage, lineage_of
from mlops.reporting.figures import Curve
from mlops.tracking import connection, names, registry, runs
from mlops.tracking.registry import Version

_CURVES = {
    "Reconstruction loss": {"hole": names.LOSS_HOLE, "known pixels": names.LOSS_VALID},
    "Adversarial loss": {
        "generator": names.LOSS_GENERATOR_ADVERSARIAL,
        "discriminator, real": names.LOSS_DISCRIMINATOR_REAL,
        "discriminator, fake": names.LOSS_DISCRIMINATOR_FAKE,
    },
    "PSNR in the hole of held-out clips, dB": {"average": names.VALIDATION_HOLE_PSNR},
    "PSNR in the hole of clips it learns from (no video is held out), dB": {
        "average": names.TRAINING_VIDEOS_HOLE_PSNR
    },
    "Speed, clips per second": {"all workers": names.CLIPS_PER_SECOND},
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """What one clip looks like."""

    score: ClipScore
    floor: ClipScore | None
    """Of the clip's best classical fill, which was drawn too; None where it was not scored."""
    strip: bytes
    """PNG with the rows of `pictures.STRIP_ROWS`."""
    clip: bytes
    """MP4 with the columns of `pictures.CLIP_COLUMNS` side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """What one page tells; None where it did not happen yet."""

    run_id: str
    run_name: str
    version: Version | None
    aliases: tuple[str, ...]
    lineage: Lineage | None
    evaluation: Evaluation | None
    decided: Entry | None
    """The newest decision about the version."""
    judged: Entry | None
    """The newest one that the rule made about it."""
    curves: Mapping[str, Mapping[str, Curve]]
    """Title -> label -> (clips, value)."""
    params: Mapping[str, str]
    drawings: tuple[Drawing, ...]
    """Of the clips where it did worst and best, the worst first."""
    history: tuple[Entry, ...]
    """All decisions about the model, the oldest first."""
    rule: Rule
    """Of the decision that judged it; the default one before any."""
    data: Mapping[str, str]
    """Facts about the data set the version was evaluated on, or trained on."""
    missing: tuple[str, ...] = ()
    """What MLflow does not have any more of all this, and how it is brought back."""


def content_of(tracking_uri: str, subject: str) -> ReportContent:
    """Gather what is known about `models:/…`, a run name, or (empty) the champion.

    Raises:
        UserError: there is no such version or training run.
    """
    version, run_id = _found(tracking_uri, subject)
    run, lost = runs.seen(tracking_uri, run_id)
    missing = [str(lost)] if lost else []
    evaluation = decided = judged = None
    history: tuple[Entry, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    try:
        history = decisions.history(tracking_uri, version.name) if version else ()
    except (Deleted, Gone) as error:
        missing.append(str(error))
    if version and names.EVALUATION_RUN in version.tags:
        try:
            evaluation = results.read(tracking_uri, version.tags[names.EVALUATION_RUN])
            drawings = _drawings(tracking_uri, evaluation)
        except (Deleted, Gone) as error:
            missing.append(str(error))
        decided = _newest(history, version)
        judged = decisions.judged(history, version.version)
    tags = {**(run.data.tags if run else {}), **(version.tags if version else {})}
    data_uri = evaluation.data_uri if evaluation else tags.get(names.DATA_URI, "")
    digest = evaluation.data_digest if evaluation else tags.get(names.DATA_DIGEST, "")
    return ReportContent(
        run_id=run_id,
        run_name=str(run.info.run_name) if run else tags.get(names.RUN_NAME, UNKNOWN),
        version=version,
        aliases=_aliases(tracking_uri, version),
        lineage=lineage_of(tracking_uri, version) if version else None,
        evaluation=evaluation,
        decided=decided,
        judged=judged,
        curves=_curves(tracking_uri, run_id) if run else {},
        params=run.data.params if run else {},
        drawings=drawings,
        history=history,
        rule=judged.rule if judged and judged.rule else Rule(),
        data=_data_facts(data_uri, digest),
        missing=tuple(dict.fromkeys(missing)),
    )


def _found(uri: str, subject: str) -> tuple[Version | None, str]:
    """The version and its training run; for a run name, its newest version if it has one."""
    if subject.startswith("models:/"):
        version = registry.resolve(uri, subject)
        return version, version.run_id
    if not subject:
        newest = registry.alias_or_none(uri, names.MODEL, names.CHAMPION)
        chosen = newest or registry.resolve(uri, f"models:/{names.MODEL}@{names.CANDIDATE}")
        return chosen, chosen.run_id
    if not connection.store_exists(uri):
        raise UserError(f"run {subject!r}: there is no tracking store at {uri}")
    experiment = connection.experiment_or_none(uri)
    training = f"tags.{names.KIND} = '{names.KIND_TRAINING}'"
    newest_first = ["start_time DESC"]
    trainings = connection.client(uri).search_runs(
        [experiment] if experiment else [], training, order_by=newest_first, max_results=1000
    )
    for run in trainings:
        if run.info.run_name == subject:
            return registry.find(uri, names.MODEL, {names.RUN_ID: run.info.run_id}), run.info.run_id
    others = sorted({str(run.info.run_name) for run in trainings})
    raise UserError(
        f"no training run {subject!r}{nearest(subject, others)}: "
        f"there are {', '.join(others) or 'none'}; or give models:/{names.MODEL}@{names.CHAMPION}"
    )


def _aliases(uri: str, version: Version | None) -> tuple[str, ...]:
    if version is None:
        return ()
    every = (names.CHAMPION, names.PREVIOUS, names.CANDIDATE)
    carried = {alias: registry.alias_or_none(uri, version.name, alias) for alias in every}
    return tuple(alias for alias, one in carried.items() if one and one.uri == version.uri)


def _newest(history: tuple[Entry, ...], version: Version) -> Entry | None:
    """The newest decision about a version."""
    about = [entry for entry in history if entry.version == version.version]
    return about[-1] if about else None


def _curves(uri: str, run_id: str) -> dict[str, dict[str, Curve]]:
    known = connection.client(uri)
    out: dict[str, dict[str, Curve]] = {}
    for title, series in _CURVES.items():
        for label, key in series.items():
            history = sorted(known.get_metric_history(run_id, key), key=lambda one: one.step)
            if history:
                out.setdefault(title, {})[label] = [(one.step, one.value) for one in history]
    return out


def _drawings(uri: str, evaluation: Evaluation) -> tuple[Drawing, ...]:
    known = connection.client(uri)
    files = known.list_artifacts(evaluation.run_id, names.DRAWINGS)
    found: dict[int, dict[str, bytes]] = {}
    for file in files:
        name = Path(file.path)
        subject, _, position = name.stem.rpartition("-")
        if subject == names.SUBJECT_CANDIDATE:
            data = runs.artifact(uri, evaluation.run_id, file.path)
            found.setdefault(int(position), {})[name.suffix] = data
    drawings = []
    for number, kinds in found.items():
        scores = [score for score in evaluation.scores if score.position == number]
        floor = None if evaluation.unscored_floors() else best_floor(scores)
        strip, film = (kinds.get(kind, b"") for kind in (".png", ".mp4"))
        ours = [score for score in scores if score.subject == names.SUBJECT_CANDIDATE]
        drawings += [Drawing(score, floor, strip, film) for score in ours]
    return tuple(sorted(drawings, key=lambda one: one.score.hole_psnr_db))


def _data_facts(data_uri: str, digest: str) -> dict[str, str]:
    facts = {"URI": data_uri, "digest": digest}
    try:
        data_set = DataSet.open(data_uri)
    except UserError:
        return {**facts, "state": "not there any more"}
    facts["frame size"] = f"{data_set.width} x {data_set.height} pixels"
    if data_set.digest != digest:
        facts["state"] = f"has another digest now: {data_set.digest}"
    for split in ("train", "test"):
        try:
            videos = data_set.videos(split)
        except UserError:
            continue
        frames = sum(video.frames for video in videos)
        shown = ", ".join(video.id for video in videos[:6]) + (", …" if len(videos) > 6 else "")
        count = "1 video" if len(videos) == 1 else f"{len(videos)} videos"
        facts[f"{split} split"] = f"{count}, {frames} frames: {shown}"
        kinds = [kind for video in videos for kind in video.mask_kinds]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
        facts[f"{split} masks"] = counts
    return facts
