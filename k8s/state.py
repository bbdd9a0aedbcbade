"""What is said of a job when it is submitted, and how one ends; with and without Kubernetes."""

from dataclasses import dataclass

SUBMITTED, RUNNING, DONE = "submitted", "already running", "already done"


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended."""

    status: str
    """Ray's: SUCCEEDED, FAILED, STOPPED."""
    message: str
    """In words."""
    code: int
    """The exit code of the command that waited for it: the job's own, where it had one."""
