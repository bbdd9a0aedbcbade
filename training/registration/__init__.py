"""From weights to a version of the registry.

- `from_checkpoint.py`: the averaged generator of a checkpoint, registered once
- `from_official.py`: a file of official weights, registered once
- `model_folder.py`: the MLflow model folder: weights, code, signature
"""
