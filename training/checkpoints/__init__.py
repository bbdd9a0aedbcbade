"""Checkpoints of a run in storage.

- `checkpoint.py`: sharded safetensors, and a manifest of hashes written last
- `saver.py`: asynchronous checkpoints; prunes old ones
- `record.py`: `run.json`: the record of a run
- `unsharded.py`: the networks of a checkpoint, whole, in one process
"""
