"""Lineage of a version: its run, data, code, config, evaluation and decision."""

from dataclasses import dataclass

from data_pipeline.tracking.store_errors import Deleted, Gone, StoreError
from mlops.promotion import decisions, gate
from mlops.promotion.decisions import Entry
from mlops.tracking import names, runs
from mlops.tracking.registry import Version

_SHORT = 12  # characters of a digest in the line
UNKNOWN = "unknown"
_NONE_YET = "none yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a version comes from; `unknown` for what was not recorded."""

    model: str
    run_id: str
    run_name: str
    clips: str
    data_uri: str
    data_digest: str
    commit: str
    config_digest: str
    weights_sha256: str
    image: str
    evaluation_run_id: str
    decision: str
    """Last decision of the rule about it, and a remark where it had weak floors only."""
    run_state: str = ""
    """`deleted` or `gone` where the training run is; else ""."""
    evaluation_state: str = ""
    """`deleted` or `gone` where the evaluation run is; else ""."""
    missing: tuple[str, ...] = ()
    """Missing parts, and how each is restored."""

    def parts(self) -> tuple[tuple[str, str], ...]:
        """(what, value) from the model back, short enough to read."""
        run = filter(None, (self.run_id[:_SHORT], f"{self.clips} clips", self.run_state))
        evaluation = self.evaluation_run_id[:_SHORT]
        if self.evaluation_state:
            evaluation += f" ({self.evaluation_state})"
        return (
            ("model", self.model),
            ("run", f"{self.run_name} ({', '.join(run)})"),
            ("data", self.data_digest[:_SHORT]),
            ("commit", _short_commit(self.commit)),
            ("config", self.config_digest[:_SHORT]),
            ("image", self.image),
            ("evaluation", evaluation),
            ("decision", self.decision),
        )

    def line(self) -> str:
        """All parts in one line."""
        (_, model), *rest = self.parts()
        return " -> ".join([model, *(f"{what} {value}" for what, value in rest)])


def lineage_of(tracking_uri: str, version: Version) -> Lineage:
    """Trace the lineage of a version: by its tags, and by its run where they lack."""
    run, lost_run = runs.seen(tracking_uri, version.run_id)
    tags = {**(run.data.tags if run else {}), **version.tags}
    evaluation, lost_evaluation = version.tags.get(names.EVALUATION_RUN), None
    if evaluation is not None:
        _, lost_evaluation = runs.seen(tracking_uri, evaluation)
    lost = [lost_run, lost_evaluation]
    try:
        made = decisions.history(tracking_uri, version.name)
        decision = _decision(decisions.judged(made, version.version))
    except (Deleted, Gone) as error:
        decision = UNKNOWN
        lost.append(error)

    def tag(key: str) -> str:
        return tags.get(key) or UNKNOWN

    return Lineage(
        model=version.uri,
        run_id=version.run_id or UNKNOWN,
        run_name=str(run.info.run_name) if run else tag(names.RUN_NAME),
        clips=tag(names.CLIPS),
        data_uri=tag(names.DATA_URI),
        data_digest=tag(names.DATA_DIGEST),
        commit=tag(names.COMMIT),
        config_digest=tag(names.CONFIG_DIGEST),
        weights_sha256=tag(names.WEIGHTS_SHA256),
        image=tag(names.IMAGE),
        evaluation_run_id=evaluation or _NONE_YET,
        decision=decision,
        run_state=_state(lost_run),
        evaluation_state=_state(lost_evaluation),
        missing=tuple(dict.fromkeys(str(one) for one in lost if one is not None)),
    )


def _state(lost: StoreError | None) -> str:
    if lost is None:
        return ""
    return "deleted" if isinstance(lost, Deleted) else "gone"


def _decision(entry: Entry | None) -> str:
    if entry is None:
        return _NONE_YET
    return f"{entry.word}, {gate.WEAK_FLOORS}" if entry.weak else entry.word


def _short_commit(commit: str) -> str:
    """The first digits of a commit, with the `-dirty` that may follow them."""
    number, dash, rest = commit.partition("-")
    return number[:_SHORT] + dash + rest
