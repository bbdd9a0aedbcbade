"""The store, tried by who is inside: `helm test` and the pods that `cluster.py` asks to.

python -m k8s.store s3://lake/runs
"""

import secrets
import sys
from collections.abc import Sequence

from data_pipeline import lake
from data_pipeline.door import Refused, run_door, say

_PATIENCE_S = 10.0  # who asks whether a store is there wants to know now


def main(argv: Sequence[str] | None = None) -> int:
    """Try the URI that is given; returns the exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    with lake.within(_PATIENCE_S):
        say(tried(argv[0]))
    return 0


def tried(storage: str) -> str:
    """Write, read and remove a small file under `storage`; says so.

    Raises:
        Refused: what is read is not what was written.
        UserError, TransientError: see `lake`.
    """
    mark = secrets.token_hex(4)
    uri, data = lake.join(storage, f"trial-{mark}"), mark.encode()
    lake.create_bytes(uri, data)
    read = lake.read_bytes(uri)
    lake.remove(uri)
    if read != data:
        raise Refused(f"{uri} was written as {data!r} and read as {read!r}")
    return f"{uri} was written, read and removed"


if __name__ == "__main__":
    sys.exit(main())
