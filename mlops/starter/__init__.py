"""The model that comes with the program: a version like any other, as an MLflow model folder.

`model/` is a promoted version of a run of the preset `starter`, with its own copy of the code that
runs it; `tags.json` has the version's tags, README.md is its card. It is used where no registry is
named, begins a training (`--init starter`), and `training/import_weights.py starter` registers it.
`training/registration/to_starter.py` puts another version in its place.
"""

import json
from pathlib import Path

STARTER = "starter"
"""Its name, in place of a model URI."""
FOLDER = Path(__file__).parent / "model"
WEIGHTS = FOLDER / "artifacts" / "weights.safetensors"
TAGS = Path(__file__).parent / "tags.json"


def tags() -> dict[str, str]:
    """Tags of the version that it was."""
    found: dict[str, str] = json.loads(TAGS.read_text())
    return found
