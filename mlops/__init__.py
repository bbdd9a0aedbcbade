"""Evaluates models, decides which one people use, and lets them use it.

Commands: `evaluate.py`, `promote.py`, `inpaint.py`, `inpaint_batch.py`, `masks.py`, `serve.py`,
`burn_in.py`, `lineage.py`, `prune.py`, `report.py`; their flags are in `config.py`.

| folder | idea |
|---|---|
| `tracking/` | MLflow: runs, registry, locks, names |
| `evaluation/` | protocol, metrics, scoring on Ray, results |
| `promotion/` | the rule, the decisions, their history, lineage, pruning |
| `inpainting/` | a whole video, or many, through a model; burning something in, to remove |
| `media/` | footage and masks in, footage out |
| `masking/` | masks of a whole video from a box, clicks or one mask |
| `starter/` | the model that comes with the program, and its card |
| `fills/` | classical fills: diffusion, and propagation along optical flow |
| `reporting/` | the page about a version |
| `serving/` | the service: an HTTP API and a page, over Ray Serve |

Imports run one way: this room may import `data_pipeline`, never `training`.
"""

import os

# MLflow decides at import whether it reports usage to its makers: set before any import of it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Commands print their own lines; MLflow would add two with an address for each run that ends.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# Nor its own progress bars over every download.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Artifacts come through the server: the addresses that it would sign instead are its own of the
# store, which nobody outside of its cluster may reach.
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "false")
