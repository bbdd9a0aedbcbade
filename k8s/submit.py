"""Shard, train, evaluate or inpaint as a job on a cluster.

python k8s/submit.py train youtube-vos -- --name first --clips 80000
python k8s/submit.py inpaint -- s3://films/raw s3://films/clean --masks s3://films/masks
python k8s/submit.py logs sttn-train-first     # follow it again
python k8s/submit.py train --cancel -- --name first
python k8s/submit.py --list
python k8s/submit.py train demo --address http://127.0.0.1:8265 -- --name first   # no Kubernetes

The flags are validated here. The same submission twice is one job; another one under its name is
refused while it runs. The exit code is the job's. A job that is restarted, with a new cluster,
resumes: a run from its last checkpoint, a data set from the shards that are written, videos from
those that are filled.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data_pipeline.cli.command import parse, print_json, run_command, say
from k8s.config import LOGS, RELEASE, SubmitConfig
from k8s.job_state import DONE, End

if TYPE_CHECKING:
    from k8s.jobs_api import JobsApi
    from k8s.rayjob_client import RayJobs

_INTERRUPTED = 130  # as a shell says it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, which is the job's."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    at = list(argv).index("--") if "--" in argv else len(argv)
    config = parse(SubmitConfig, argv[:at], prog="k8s/submit.py", description=str(__doc__))
    if config.list:
        return _listed(_ray_jobs(config))
    if config.what == LOGS:
        return _followed(config, config.preset)
    from k8s.job_request import job_request

    job = job_request(config.what, config.preset, argv[at + 1 :], checkout=bool(config.working_dir))
    if config.cancel:
        word = "was stopped" if _jobs(config).stop(job.name) else "had ended already"
        say(f"{job.name} {word}")
        return 0
    # An alias may name another version by now, a folder may hold more videos: these run again, and
    # find what is done.
    once = config.what in ("shard", "train")
    if config.address:
        state = _jobs_api(config).submit(job, config.working_dir, once=once)
    else:
        state = _ray_jobs(config).submit(job, suspended=config.suspended, once=once)
    say(f"{job.name}: {state}: {job.entrypoint}")
    if config.detach or config.suspended or state == DONE:
        if config.json:
            print_json({"name": job.name, "status": state, "message": ""})
        return 0
    return _followed(config, job.name)


def _jobs(config: SubmitConfig) -> "JobsApi | RayJobs":
    return _jobs_api(config) if config.address else _ray_jobs(config)


def _jobs_api(config: SubmitConfig) -> "JobsApi":
    from k8s.jobs_api import JobsApi

    return JobsApi(config.address)


def _ray_jobs(config: SubmitConfig) -> "RayJobs":
    from k8s.api import Api
    from k8s.rayjob_client import RayJobs

    return RayJobs(Api(config.context, config.namespace), config.release)


def _listed(jobs: "RayJobs") -> int:
    for row in jobs.rows():
        say(f"{row.created}  {row.kind:<8}  {row.name:<47}  {row.state}")
    return 0


def _followed(config: SubmitConfig, name: str) -> int:
    try:
        end = _end(config, name)
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\n{name} keeps running; to follow it again: {_to_follow(config, name)}\n"
        )
        return _INTERRUPTED
    if config.json:
        print_json({"name": name, "status": end.status, "message": end.message})
    if end.code == 0:
        say(end.message)
    else:
        sys.stderr.write(f"failed: {end.message}\n")
    return end.code


def _end(config: SubmitConfig, name: str) -> End:
    if config.address:
        jobs = _jobs_api(config)
        jobs.get(name)
        return jobs.follow(name, _write)
    return _ray_jobs(config).follow(name, _write, _tell)


def _to_follow(config: SubmitConfig, name: str) -> str:
    flags = {
        "--address": config.address,
        "--release": config.release if config.release != RELEASE else "",
        "--namespace": config.namespace,
        "--context": config.context,
    }
    given = "".join(f" {flag} {value}" for flag, value in flags.items() if value)
    return f"python k8s/submit.py logs {name}{given}"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _tell(line: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
