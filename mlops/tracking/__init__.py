"""MLflow: runs, the registry, locks, and the names of everything written there.

- `connection.py`: the tracking URI, its client, its timeouts
- `names.py`: every metric, tag and alias
- `runs.py`: how metrics, pictures, files and data sets get into a run
- `journal.py`: buffered metrics on their way to MLflow, which may be away for a while
- `registry.py`: the registered model: versions, aliases, tags
- `model_uri.py`: models:/NAME@ALIAS and models:/NAME/NUMBER
- `locks.py`: leases: one process at a time evaluates a version, or moves an alias
- `loaded_model.py`: a loaded version: predicts a clip, streams a video
- `command.py`: commands that talk to MLflow: its errors in one line
"""
