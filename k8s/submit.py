"""Door: shard, train or evaluate as a job on a cluster.

python k8s/submit.py train youtube-vos -- --name first --clips 80000
python k8s/submit.py logs sttn-train-first     # come back to it
python k8s/submit.py train --cancel -- --name first
python k8s/submit.py --list
python k8s/submit.py train demo --address http://127.0.0.1:8265 -- --name first   # no Kubernetes

The run's config is checked here. The same submission twice is one job; another one under its name
is refused while it runs. The exit code is the job's. A job that begins again, with a new cluster,
goes on where it was: a run by its name, a data set by what is there of it.
"""

import sys
from collections.abc import Sequence

from data_pipeline.door import parse, print_json, run_door, say
from k8s.api import Api
from k8s.asked import asked
from k8s.bare import Jobs
from k8s.config import LOGS, RELEASE, SubmitConfig
from k8s.jobs import RayJobs
from k8s.state import DONE, End

_INTERRUPTED = 130  # as a shell says it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code, which is the job's."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    at = list(argv).index("--") if "--" in argv else len(argv)
    config = parse(SubmitConfig, argv[:at], prog="k8s/submit.py", description=str(__doc__))
    if config.list:
        return _listed(_ray_jobs(config))
    if config.what == LOGS:
        return _followed(config, _jobs(config), config.preset)
    job = asked(config.what, config.preset, argv[at + 1 :], checkout=bool(config.working_dir))
    jobs = _jobs(config)
    if config.cancel:
        word = "was stopped" if jobs.stop(job.name) else "had ended already"
        say(f"{job.name} {word}")
        return 0
    # What an alias of a version means changes: an evaluation looks again, and finds its result.
    once = config.what != "evaluate"
    if isinstance(jobs, Jobs):
        state = jobs.submit(job, config.working_dir, once=once)
    else:
        state = jobs.submit(job, suspended=config.suspended, once=once)
    say(f"{job.name}: {state}: {job.entrypoint}")
    if config.detach or config.suspended or state == DONE:
        if config.json:
            print_json({"name": job.name, "status": state, "message": ""})
        return 0
    return _followed(config, jobs, job.name)


def _jobs(config: SubmitConfig) -> Jobs | RayJobs:
    return Jobs(config.address) if config.address else _ray_jobs(config)


def _ray_jobs(config: SubmitConfig) -> RayJobs:
    return RayJobs(Api(config.context, config.namespace), config.release)


def _listed(jobs: RayJobs) -> int:
    for row in jobs.rows():
        say(f"{row.created}  {row.kind:<8}  {row.name:<47}  {row.state}")
    return 0


def _followed(config: SubmitConfig, jobs: Jobs | RayJobs, name: str) -> int:
    try:
        end = _end(jobs, name)
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{name} goes on; to come back: {_come_back(config, name)}\n")
        return _INTERRUPTED
    if config.json:
        print_json({"name": name, "status": end.status, "message": end.message})
    if end.code == 0:
        say(end.message)
    else:
        sys.stderr.write(f"failed: {end.message}\n")
    return end.code


def _end(jobs: Jobs | RayJobs, name: str) -> End:
    if isinstance(jobs, Jobs):
        jobs.get(name)
        return jobs.follow(name, _write)
    return jobs.follow(name, _write, _tell)


def _come_back(config: SubmitConfig, name: str) -> str:
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
