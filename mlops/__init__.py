"""Decides which model people use and lets them use it.

The map of this room:

- `names`      every metric, tag and alias that is written to MLflow or read from it
- `tracking`   where MLflow lives: its URI, its client, how long it is waited for
- `runs`       runs of MLflow: how scalars, pictures, files and data sets get there
- `journal`    lines on their way to MLflow, which may be away for a while
- `registry`   the registered model: versions, aliases, tags
- `model`      a loaded version: predicts a clip, streams a video
- `metrics`    pure: PSNR, SSIM, Frechet distance, trivial fills
- `i3d`        features of a clip, for VFID
- `flow`       flow warping error
- `columns`    what each number of an evaluation is
- `protocol`   which clips and holes are judged, and how: `clean` and `published`
- `inputs`     their pixels
- `results`    scores of an evaluation as data: per clip, per video, means; a run read back
- `scoring`    what one Ray actor does: subjects scored on the clips of a video
- `pool`       the actors of each version, one row per video
- `evaluation` an evaluation, recorded once
- `evaluate`   door: scores a version on the held-out split, against the champion
- `watcher`    evaluates versions as they come
- `claims`     one at a time: who evaluates, and who moves an alias
- `gate`       pure: evaluation numbers in, promote or refuse with reasons out
- `promotion`  decisions: applies the gate, moves `champion` and `previous`; rollback, history
- `promote`    door to them
- `prune`      door: deletes old versions
- `video`      footage in: frames in display order with their times
- `encoding`   footage out: times, colours, rotation and sound of the source
- `overlap`    reading ahead and writing behind, in threads
- `holes`      masks from boxes, a picture, a folder or a video; their edges
- `inpaint`    door: VIDEO MASK OUT
- `lineage`    door: version -> run -> data -> commit -> config -> image -> evaluation
- `door`       what MLflow says no with, in one line
- `pictures`   strips and short films of a clip
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
# Artifacts come through the server: the addresses that it would sign instead are its own of the
# store, which nobody outside of its cluster may reach.
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "false")
