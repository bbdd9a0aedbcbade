"""Fill the hole of a video with a registered version.

$ python mlops/inpaint.py VIDEO MASK OUT --model models:/sttn@champion --tracking-uri URI

Frames go through one at a time, so the length of the video does not matter; decoding, the model and
encoding overlap. The model works at the size it was trained at; its answer is scaled back and
pasted into the hole, so that every other pixel is untouched before encoding. The times of the
frames, their depth and colours, the shape of pixels and all tracks are kept, or a line says what is
not; frames are written upright.

An interrupted long video goes on when the same command is given again, to the same file: what was
filled lies beside OUT, in a hidden folder, until OUT is written.

As a library, frame by frame: `mlops.inpainting.filling.inpainted(model, pairs)`; a whole clip:
`mlflow.pyfunc.load_model("models:/sttn@champion").predict({"frames": …, "masks": …})`.
"""

import sys
from collections.abc import Sequence

from data_pipeline.cli.command import parse, print_json, say
from mlops.config import INPAINT_GROUPS, RENAMED, InpaintConfig
from mlops.inpainting.chosen import registry_of
from mlops.tracking.command import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(
        InpaintConfig,
        argv,
        prog="inpaint",
        description=str(__doc__),
        renamed=RENAMED,
        groups=INPAINT_GROUPS,
    )
    uri = registry_of(config)

    from mlops.inpainting.inpaint import inpaint

    done = inpaint(config, uri)
    say(done.in_words())
    if config.json:
        print_json(done.as_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
