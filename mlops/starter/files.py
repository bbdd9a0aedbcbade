"""The files of the starter model, and what is known of it."""

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
