"""States of a submission, and how a job ends; with and without Kubernetes."""

from dataclasses import dataclass

SUBMITTED, RUNNING, DONE = "submitted", "already running", "already done"


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended."""

    status: str
    """Ray's SUCCEEDED, FAILED, STOPPED, or the reason that KubeRay gives."""
    message: str
    """One sentence."""
    code: int
    """Exit code of the command that followed the job: the job's own, where it had one."""
