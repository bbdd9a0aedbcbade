"""From the command to the training loop.

- `launch.py`: the driver: opens the run, starts the workers, registers the model
- `seen.py`: the hardware of the cluster, or of this machine
- `workers.py`: starts the workers by Ray Train and follows them
- `worker.py`: one Ray worker
- `trainer.py`: the training loop: clips seen, intervals, the end
- `initial_weights.py`: initial weights: a registered version or a checkpoint
- `failures.py`: permanent errors of a worker, which end a run at once
"""
