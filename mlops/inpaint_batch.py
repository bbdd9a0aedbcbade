"""Fill the holes of many videos with one registered version: a folder, a lake, or a table of them.

$ python mlops/inpaint_batch.py INPUTS OUT --masks MASKS --model models:/sttn@champion

$ python mlops/inpaint_batch.py s3://films/raw s3://films/clean --masks s3://films/masks --workers 8

Each video is filled as `inpaint.py` would fill it, by workers that load the version once; an alias
is looked up once, at the start. Outputs appear whole or not at all. A video that cannot be filled
is a row of results.parquet with its reason, and counts against --max-rejected.

OUT belongs to one batch. The same command goes on after it was ended in any way, does nothing when
all is done, and fills what was added, changed or rejected since. With other options or another
version a finished OUT is refused; without its manifest.json whatever differs is filled again.
"""

import sys
from collections.abc import Sequence

from data_pipeline.cli.command import parse, print_json, say
from mlops.config import INPAINT_BATCH_GROUPS, InpaintBatchConfig
from mlops.inpainting.chosen import registry_of
from mlops.tracking.command import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(
        InpaintBatchConfig,
        argv,
        prog="inpaint_batch",
        description=str(__doc__),
        groups=INPAINT_BATCH_GROUPS,
    )
    uri = registry_of(config)

    from mlops.inpainting.batch import inpaint_batch

    done = inpaint_batch(config, uri)
    say(done.in_words())
    if config.json:
        print_json(done.as_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
