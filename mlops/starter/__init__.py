"""The model that comes with the program: a version like any other.

- `files.py`: where it is, and what is known of it
- `model/`: its MLflow model folder, with its own copy of the code that runs it; a command of
  `training/registration/` puts another version there

`tags.json` has the version's tags, README.md is its card. It is used where no registry is named,
begins a training (`--init starter`), and is registered by the command that imports weights.
"""
