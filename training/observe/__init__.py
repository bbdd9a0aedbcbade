"""Metrics and validation of a run, its watchdog and its reaction to preemption.

- `telemetry.py`: metrics, pictures and tags of a run, for MLflow
- `validation.py`: scores and pictures of the averaged generator on fixed clips
- `watchdog.py`: finds stalled workers and dumps their stacks
- `preemption.py`: nodes about to be drained
- `status_board.py`: status of a run, from the workers to the driver
- `journals.py`: buffered metrics on a node's disk, and how each kind gets to MLflow
- `node_metrics.py`: CPU, memory, disk, network and GPU of a node
- `phases.py`: seconds by phase
"""
