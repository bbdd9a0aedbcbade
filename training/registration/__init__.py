"""From weights to a version of the registry.

- `from_checkpoint.py`: the averaged generator of a checkpoint, registered once
- `from_official.py`: a file of official weights, registered once
- `from_starter.py`: the model that comes with the program, registered once
- `to_starter.py`: a version in its place
- `model_folder.py`: the MLflow model folder: weights, code, signature
"""
