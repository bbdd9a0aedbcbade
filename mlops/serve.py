"""Serve a registered version over HTTP: videos and masks in, filled videos out, and a page.

$ python mlops/serve.py

$ python mlops/serve.py --tracking-uri URI --max-replicas 4 --host 0.0.0.0 --token-file token

The page is at /, the description of the API at /docs. An alias is followed: a promotion or a
rollback is taken up within a minute; jobs keep the version that they were given. Videos are filled
as `inpaint.py` fills them. Jobs outlive the service: started again, it goes on with them.
"""

import sys
from collections.abc import Sequence

from data_pipeline.cli.command import parse
from mlops.config import SERVE_GROUPS, ServeConfig
from mlops.inpainting.chosen import registry_of
from mlops.tracking.command import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(ServeConfig, argv, prog="serve", description=str(__doc__), groups=SERVE_GROUPS)
    uri = registry_of(config)

    from mlops.serving.serving import serve

    serve(config, uri)
    return 0


if __name__ == "__main__":
    sys.exit(main())
