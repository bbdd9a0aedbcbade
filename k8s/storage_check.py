"""Checks the storage from inside a pod: for `helm test` and `cluster.py status`.

python -m k8s.storage_check s3://lake/runs
"""

import secrets
import sys
from collections.abc import Sequence

from data_pipeline.cli.command import Refused, run_command, say
from data_pipeline.storage import lake

_PATIENCE_S = 10.0  # a check answers soon, whatever the storage does


def main(argv: Sequence[str] | None = None) -> int:
    """Check the URI that is given; returns the exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    with lake.within(_PATIENCE_S):
        say(check_storage(argv[0]))
    return 0


def check_storage(storage: str) -> str:
    """Write, read and remove a small file under `storage`; returns a line that says so.

    Raises:
        Refused: what is read is not what was written.
        UserError, TransientError: see `lake`.
    """
    mark = secrets.token_hex(4)
    uri, data = lake.join(storage, f"self-test-{mark}"), mark.encode()
    lake.create_bytes(uri, data)
    read = lake.read_bytes(uri)
    lake.remove(uri)
    if read != data:
        raise Refused(f"{uri} was written as {data!r} and read as {read!r}")
    return f"{uri} was written, read and removed"


if __name__ == "__main__":
    sys.exit(main())
