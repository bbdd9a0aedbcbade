"""Burn subtitles and a logo into a video, so that there is something to remove.

$ python mlops/burn_in.py VIDEO OUT MASKS --logo

What was behind them is VIDEO itself, so what a model makes of it can be measured:

$ python mlops/inpaint.py OUT MASKS RESULT --truth VIDEO

The same command writes the same pixels. Frames go through one at a time.
"""

import sys
from collections.abc import Sequence

from data_pipeline.cli.command import parse, print_json, run_command, say
from mlops.config import BURN_IN_GROUPS, BurnInConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(
        BurnInConfig, argv, prog="burn_in", description=str(__doc__), groups=BURN_IN_GROUPS
    )

    from mlops.inpainting.burn_in import burn_in

    done = burn_in(config)
    say(done.in_words())
    if config.json:
        print_json(done.as_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
