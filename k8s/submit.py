"""Door: shard, train or evaluate as a job of a Ray cluster.

python k8s/submit.py train youtube-vos --address http://127.0.0.1:8265 -- --name first --clips 80000
python k8s/submit.py logs sttn-train-first     # come back to it
python k8s/submit.py train --cancel -- --name first

The run's config is checked here. The same submission twice is one job; another one under its name
is refused while it runs. The exit code is the job's.
"""

import sys
from collections.abc import Sequence

from data_pipeline.door import parse, print_json, run_door, say
from k8s.asked import asked
from k8s.bare import DONE, Jobs
from k8s.config import LOGS, SubmitConfig

_INTERRUPTED = 130  # as a shell says it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code, which is the job's."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    at = list(argv).index("--") if "--" in argv else len(argv)
    config = parse(SubmitConfig, argv[:at], prog="k8s/submit.py", description=str(__doc__))
    flags = argv[at + 1 :]
    if config.what == LOGS:
        return _followed(config, Jobs(config.address), config.preset)
    job = asked(config.what, config.preset, flags, checkout=bool(config.working_dir))
    jobs = Jobs(config.address)
    if config.cancel:
        word = "was stopped" if jobs.stop(job.name) else "had ended already"
        say(f"{job.name} {word}")
        return 0
    # What an alias of a version means changes: an evaluation looks again, and finds its result.
    state = jobs.submit(job, config.working_dir, once=config.what != "evaluate")
    say(f"{job.name}: {state}: {job.entrypoint}")
    if config.detach or state == DONE:
        if config.json:
            print_json({"name": job.name, "status": state, "message": ""})
        return 0
    return _followed(config, jobs, job.name)


def _followed(config: SubmitConfig, jobs: Jobs, name: str) -> int:
    jobs.get(name)
    try:
        end = jobs.follow(name, _write)
    except KeyboardInterrupt:
        come_back = f"python k8s/submit.py logs {name} --address {config.address}"
        sys.stderr.write(f"\n{name} goes on; to come back: {come_back}\n")
        return _INTERRUPTED
    if config.json:
        print_json({"name": name, "status": end.status, "message": end.message})
    if end.code == 0:
        say(end.message)
    else:
        sys.stderr.write(f"failed: {end.message}\n")
    return end.code


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
