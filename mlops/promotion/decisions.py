"""The history of a model's champions: every decision about it, and what follows from them.

A decision is a run of MLflow. It names versions; whether they still exist is another question.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from mlflow.entities import LifecycleStage, Run

from mlops.config import Rule
from mlops.promotion import gate
from mlops.tracking import names, registry, runs

MAX_DECISIONS = 1000  # looked at
_ROLLBACKS = 2  # what `previous` is, and what it becomes when that is returned to


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the history."""

    number: int
    """Number of the decision: one more than that of the one before; 0 where it was not recorded."""
    when: datetime
    who: str
    word: str
    version: str
    """The number it was decided about."""
    before: str
    """Number of the champion before, `names.NO_VERSION` without one."""
    after: str
    """Number of the champion after, likewise."""
    data_digest: str
    rule_digest: str
    floors: str
    """Floors that the rule compared with: one of `names.FLOORS_…`, or "" where no rule decided."""
    rule: Rule | None
    """Rule of the decision; None for a rollback, or where it was not recorded."""
    run_id: str
    reasons: tuple[str, ...]
    """Last, that it was judged by weak floors only, and that its run is deleted, where so."""
    state: Literal["finished", "interrupted", "given up"] = "finished"
    """`finished`: the aliases are as it says. The next decision settles an interrupted one."""

    @property
    def weak(self) -> bool:
        """True when it was judged by weak floors only."""
        return self.floors == names.FLOORS_TRIVIAL


def history(tracking_uri: str, model: str, *, unfinished: bool = False) -> tuple[Entry, ...]:
    """All decisions about a model, the oldest first; `unfinished`: those too that did not end.

    Raises:
        Deleted: the experiment that they are runs of is.
    """
    wanted = {names.KIND: names.KIND_DECISION, names.MODEL_NAME: model}
    # A decision stands when its run is deleted.
    decided = runs.find_all(tracking_uri, wanted, finished=True, limit=MAX_DECISIONS, deleted=True)
    if unfinished:
        decided += runs.find_all(tracking_uri, wanted, finished=False, limit=MAX_DECISIONS)
    # By the number that each got from the one before: clocks of those who decide may differ.
    return tuple(sorted(map(entry_of, decided), key=lambda entry: (entry.number, entry.when)))


def line_of_champions(entries: Iterable[Entry]) -> list[str]:
    """The champion, last, and before it those that one rollback after the other returns to. Pure.

    Args:
        entries: finished decisions, the oldest first.

    Returns:
        Numbers of versions; some may not be in the registry any more.
    """
    line: list[str] = []
    for one in entries:
        if one.word == names.DECISION_ROLLED_BACK:
            while line and line[-1] != one.after:
                line.pop()
            line = line or [one.after]
        elif one.word == names.DECISION_PROMOTED:
            if one.before not in (names.NO_VERSION, *line[-1:]):
                line.append(one.before)  # set by hand
            line.append(one.after)
    return line


def earlier_champions(entries: Iterable[Entry], there: Collection[str]) -> list[str]:
    """Earlier champions of `line_of_champions` that are still there, the nearest first."""
    *earlier, champion = line_of_champions(entries) or [names.NO_VERSION]
    return [one for one in reversed(earlier) if one in there and one != champion]


def needed(tracking_uri: str, model: str) -> dict[str, str]:
    """Versions that the next decision may have to point an alias at.

    Returns:
        Number -> why.
    """
    entries = history(tracking_uri, model, unfinished=True)
    there = registry.by_number(tracking_uri, model)
    finished = [one for one in entries if one.state == "finished"]
    out = dict.fromkeys(
        earlier_champions(finished, there)[:_ROLLBACKS], "an earlier champion that a rollback needs"
    )
    for entry in entries:
        if entry.state == "interrupted":
            out |= dict.fromkeys((entry.before, entry.after), "an interrupted decision names it")
    return out


def judged(entries: Sequence[Entry], number: str) -> Entry | None:
    """The newest decision that the rule made about a version; None without one."""
    about = [one for one in entries if one.version == number and one.floors]
    return about[-1] if about else None


def entry_of(run: Run) -> Entry:
    """Read a decision from its run."""
    tags: Mapping[str, str] = run.data.tags
    by_rule = tags[names.DECISION] != names.DECISION_ROLLED_BACK
    floors = tags.get(names.FLOORS, names.FLOORS_TRIVIAL) if by_rule else ""
    reasons = [one for one in tags[names.REASONS].splitlines() if one != gate.WEAK_FLOORS]
    remarks = [gate.WEAK_FLOORS] if floors == names.FLOORS_TRIVIAL else []
    states: dict[str, Literal["finished", "interrupted"]] = {
        "FINISHED": "finished",
        "RUNNING": "interrupted",
    }
    if run.info.lifecycle_stage == LifecycleStage.DELETED:
        remarks.append("its MLflow run is deleted; the decision stands")
    return Entry(
        number=int(tags.get(names.DECISION_NUMBER, 0)),
        when=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        who=tags.get("mlflow.user", "unknown"),
        word=tags[names.DECISION],
        version=tags[names.MODEL_VERSION],
        before=tags[names.DECISION_FROM],
        after=tags[names.DECISION_TO],
        data_digest=tags.get(names.DATA_DIGEST, ""),
        rule_digest=tags.get(names.RULE_DIGEST, ""),
        floors=floors,
        rule=gate.rule_from(run.data.params) if by_rule else None,
        run_id=run.info.run_id,
        reasons=(*reasons, *remarks),
        state=states.get(run.info.status, "given up"),
    )
