"""Write one self-contained page about a version or a training run.

$ python mlops/report.py models:/sttn@champion --tracking-uri URI --out page.html
"""

import sys
from collections.abc import Sequence

from data_pipeline.cli.command import parse, print_json, say
from data_pipeline.tracking import store_uri
from mlops.config import ReportConfig
from mlops.tracking.command import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(ReportConfig, argv, prog="report", description=str(__doc__))
    uri = store_uri.absolute(config.tracking_uri)

    from data_pipeline.storage import lake
    from mlops.media.files import check_outputs, real
    from mlops.reporting.content import content_of
    from mlops.reporting.page import page

    check_outputs({"--out": config.out}, {})
    content = content_of(uri, config.subject)
    lake.write_bytes(str(real(config.out)), page(content).encode())
    about = content.version.uri if content.version else f"run {content.run_name}"
    say(f"{config.out}: report on {about}")
    if content.lineage:
        say(content.lineage.line())
    for one in content.missing:
        say(f"not there: {one}")
    if config.json:
        version = content.version.uri if content.version else None
        print_json({"out": str(config.out.absolute()), "model": version, "run": content.run_id})
    return 0


if __name__ == "__main__":
    sys.exit(main())
