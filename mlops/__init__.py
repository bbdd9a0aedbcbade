"""Decides which model people use and lets them use it.

The map of this room:

- `names`      every metric, tag and alias that is written to MLflow or read from it
- `tracking`   MLflow runs: where they live, how scalars, pictures and data sets get there
- `journal`    lines on their way to MLflow, which may be away for a while
- `registry`   the registered model: versions, aliases, tags
- `model`      a loaded version: predicts a clip, streams a video
- `metrics`    pure: PSNR and SSIM over the frame and inside the hole, trivial fills
- `results`    scores of an evaluation as data: means, files, a run read back
- `scoring`    what one Ray actor does: subjects scored on a clip
- `pool`       the actors of each version, one row per clip
- `evaluate`   door: scores a version on the held-out split, against the champion
- `gate`       pure: evaluation numbers in, promote or refuse with reasons out
- `promote`    door: applies the gate, moves `champion` and `previous`, writes the decision
- `video`      any video in, H.264 out, exact frame count and fps
- `holes`      masks from a picture, a folder, a video or a box
- `inpaint`    door: VIDEO MASK OUT
- `lineage`    door: version -> run -> data -> commit -> config -> evaluation
- `story`      everything a report tells, gathered as data
- `figures`    curves and dots as SVG
- `page`       the HTML of the report
- `style`      its look
- `report`     door: one self-contained page
- `config`     what each door can be told

Imports run one way: this room may import `data_pipeline`, never `training`.
"""

import os

# MLflow decides at import whether it reports usage to its makers: set before any import of it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Doors print their own lines; MLflow would add two with an address for each run that ends.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# Nor its own progress bars over every download.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
