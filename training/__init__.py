"""Training: STTN learnt adversarially by many processes, from a data set to a registered version.

| file | idea |
|---|---|
| `run.py` | door: train, or resume by the same command |
| `export.py` | door: any checkpoint becomes a registered version |
| `import_weights.py` | door: a file of official weights becomes a registered version |
| `config.py`, `presets.py` | what a run is made of; complete runs by name |
| `invocation.py` | what a command line asks for: a preset, deviations, how to go about it |
| `config_json.py` | how a config is written down, in this schema and earlier ones |
| `launch.py` | what the driver does: open the run, start workers, register |
| `record.py` | what is written down when a run begins, and refuses another under its name |
| `start.py` | weights to begin with: a registered version or a checkpoint |
| `workers.py` | starts the workers by Ray Train, shows how far they are |
| `strict.py` | JSON back to a config, refusing what does not fit |
| `worker.py` | what one Ray worker does |
| `networks.py`, `batch.py` | from a config to the networks; from pixels to tensors |
| `trainer.py` | owns time: clips seen, intervals, the end |
| `adversary.py` | owns what learns: two networks, two optimisers, the turns |
| `losses.py`, `schedules.py` | pure: sums over the global batch; learning rate, EMA decay |
| `flops.py` | what a clip costs to learn from, by formula; what a device reaches |
| `footprint.py` | the memory of a worker by part, estimated before the first iteration |
| `plan.py`, `machines.py` | memory, bytes on the wire and time at best on machines not here |
| `model/` | the networks and how they inpaint, on torch alone |
| `parallel.py` | sharding, precision, compilation, applied to plain networks from outside |
| `loader.py` | clips in order, a share for each rank |
| `checkpoint.py` | sharded safetensors, a manifest of hashes written last |
| `saver.py` | checkpoints written beside training, and which of them stay |
| `preemption.py`, `watch.py` | nodes about to go; workers that hang |
| `validation.py` | what the averaged generator makes of fixed clips |
| `telemetry.py`, `board.py` | what MLflow sees of a run; what a person sees now |
| `journals.py` | where lines wait on a node, and how each kind gets to MLflow |
| `node_metrics.py`, `phases.py` | load of a node; where the time goes |
| `served.py` | the model file that MLflow runs; ships with `model/` inside a version |
"""
