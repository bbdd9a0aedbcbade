"""Builds a data set: plan, one Ray Data job, tables, manifest.

- `build.py`: the whole build, from inputs to manifest
- `settings.py`: the command's config and the records -> settings of the data set and its tasks
- `plan.py`: which video goes to which shard
- `tasks.py`: messages between driver and workers
- `writer.py`: one shard of the plan -> one byte-deterministic tar
- `job_progress.py`: what the tasks are doing while the job runs
- `remarks.py`: warnings about a finished data set: odd shapes, odd annotations
"""
