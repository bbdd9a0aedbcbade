"""Make the masks of a whole video from a box, clicks or a mask on one frame.

$ python mlops/masks.py VIDEO OUT --box 40,20,200,60

Look at OUT (or at --preview FILE), and correct it where it went wrong, as often as needed:

$ python mlops/masks.py VIDEO OUT --box 40,20,200,60 52,20,190,64@80 --gone 131

Then fill what is masked:

$ python mlops/inpaint.py VIDEO OUT RESULT

What moves otherwise than the camera is told apart best. Frames wait on disk meanwhile, about a
tenth of their size in memory.
"""

import sys
from collections.abc import Sequence

from data_pipeline.cli.command import parse, print_json, run_command, say
from mlops.config import MASKS_GROUPS, MasksConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(MasksConfig, argv, prog="masks", description=str(__doc__), groups=MASKS_GROUPS)

    from mlops.masking.making import make_masks

    made = make_masks(config)
    say(made.in_words())
    if config.json:
        print_json(made.as_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
