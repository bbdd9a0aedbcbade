"""Distributed adversarial training of STTN, from a data set to a registered version.

Commands: `run.py` trains or resumes, `export.py` registers a checkpoint, `import_weights.py`
registers official weights. `served.py` is the model file inside a registered version.

| folder | idea |
|---|---|
| `config/` | what a run is made of; presets; the command line |
| `driver/` | driver, Ray workers, the training loop |
| `registration/` | from weights to a version of the registry |
| `learn/` | networks, losses, sharding, batches: one training step |
| `model/` | the networks and how they inpaint, on torch alone |
| `checkpoints/` | sharded checkpoints with hashes |
| `observe/` | telemetry, validation, watchdog, preemption |
| `planning/` | memory, FLOPs and time by formula |
"""
