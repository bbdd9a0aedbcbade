"""Door: score a registered version on the fixed clips and masks of a held-out split.

`python mlops/evaluate.py --model models:/sttn@candidate --data URI --tracking-uri URI`

The version is loaded through the registry only, in processes of its own; so is the champion, on
the same clips. The two trivial fills (mean of the frame, mean of a ring round the hole) are scored
with it. The same versions, data and protocol are evaluated once.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from data_pipeline import lake, provenance
from data_pipeline.door import UserError, parse, print_json, run_door, say
from data_pipeline.reader import DataSet
from data_pipeline.session import ray_session
from mlops import names, registry, results, tracking
from mlops.config import EvaluateConfig
from mlops.model import trained_size
from mlops.pool import Job, score
from mlops.registry import Version
from mlops.results import Evaluation, Protocol
from mlops.scoring import fixed_clips

STRIPS = 3  # clips drawn


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(EvaluateConfig, argv, prog="evaluate", description=str(__doc__))
    uri = tracking.absolute_uri(config.tracking_uri)
    version = registry.resolve(uri, config.model)
    against = _against(uri, config.against, version)
    itself = against is not None and against.uri == version.uri
    champion = None if itself else against
    data_uri = lake.absolute(config.data)
    data_set = DataSet.open(data_uri)
    protocol = Protocol(config.split, config.clips_per_video, config.frames_per_clip)
    clips = len(fixed_clips(data_set, protocol))
    if not clips:
        raise UserError(f"{data_uri} has no video in split {config.split!r}: give --split")
    for one in (version, champion):
        _check_size(uri, one, data_set)
    identity = {
        names.KIND: names.KIND_EVALUATION,
        names.MODEL_NAME: version.name,
        names.MODEL_VERSION: version.version,
        names.AGAINST_VERSION: champion.version if champion else names.NO_VERSION,
        names.DATA_DIGEST: data_set.digest,
        names.PROTOCOL_DIGEST: protocol.digest(),
    }
    wanted = dict(identity)
    if itself:
        # It is the champion: what it was scored against when it became that stands.
        del wanted[names.AGAINST_VERSION]
    run_id = tracking.find_run(uri, wanted, finished=True)
    already = run_id is not None
    if run_id is None:
        job = Job(uri, version, champion, data_uri, protocol, clips, config.workers, STRIPS)
        run_id = _evaluate(job, identity, data_set.digest)
    _mark_done(uri, version, run_id)
    _report(results.read(uri, run_id), version, already=already, as_json=config.json)
    return 0


def _against(uri: str, asked: str, version: Version) -> Version | None:
    """The version that was asked for, else the champion; None where there is no champion yet."""
    name, alias, _ = registry.parse_uri(asked) if asked else (version.name, names.CHAMPION, "")
    if alias == names.CHAMPION:
        return registry.alias_or_none(uri, name, alias)
    return registry.resolve(uri, asked)


def _check_size(uri: str, version: Version | None, data_set: DataSet) -> None:
    size = trained_size(uri, version) if version else None
    if version and size and size != (data_set.width, data_set.height):
        raise UserError(
            f"{version.uri} was trained at {size[0]}x{size[1]}, the data set {data_set.uri} has "
            f"{data_set.width}x{data_set.height}: evaluate on a data set of its size"
        )


def _evaluate(job: Job, identity: dict[str, str], digest: str) -> str:
    """Score everything and record it as one finished run; returns its id."""
    uri = job.tracking_uri
    run_id = tracking.ensure_run(
        uri,
        run_name=f"evaluate-{job.version.name}-{job.version.version}",
        kind=names.KIND_EVALUATION,
        tags={**identity, names.COMMIT: provenance.commit()},
        run_id=tracking.find_run(uri, identity, finished=False),
    )
    try:
        tracking.log_data_set(uri, run_id, job.data_uri, digest, "evaluation")
        tracking.log_params(uri, run_id, asdict(job.protocol))
        with ray_session(job.workers):
            scored = score(job)
        with tempfile.TemporaryDirectory() as folder:
            results.write(Path(folder), scored.scores, identity)
            for name, png in scored.strips.items():
                file = Path(folder) / name
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(png)
            tracking.client(uri).log_artifacts(run_id, folder)
        tracking.log_scalars(uri, run_id, 0, results.means(scored.scores))
    except BaseException:
        tracking.finish(uri, run_id, "FAILED")
        raise
    tracking.finish(uri, run_id)
    return run_id


def _mark_done(uri: str, version: Version, run_id: str) -> None:
    tags = {names.EVALUATION: names.EVALUATION_DONE, names.EVALUATION_RUN: run_id}
    registry.set_tags(uri, version, tags)


def _report(evaluation: Evaluation, version: Version, *, already: bool, as_json: bool) -> None:
    word = "was already evaluated" if already else "is evaluated"
    out = [f"{version.uri} {word}: run {evaluation.run_id}"]
    subjects = dict.fromkeys(key.split("/")[0] for key in sorted(evaluation.means))
    out.append(f"{'mean over clips':20}" + "".join(f"{name:>14}" for name in names.METRICS))
    for subject in subjects:
        row = [evaluation.means[f"{subject}/{metric}"] for metric in names.METRICS]
        out.append(f"{subject:20}" + "".join(f"{value:14.3f}" for value in row))
    say("\n".join(out))
    if as_json:
        facts = {"run": evaluation.run_id, "version": version.version, "already": already}
        against = {"against": evaluation.against, "means": results.finite(evaluation.means)}
        print_json({**facts, **against})


if __name__ == "__main__":
    sys.exit(main())
