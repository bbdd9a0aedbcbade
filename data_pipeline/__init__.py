"""Videos in, a write-once data set out, and clips read from it in a fixed order.

`run.py` is the command (`shard`, `verify`, `show`, `list`, `remove`), `config.py` its flags.

| folder | idea |
|---|---|
| `sources/` | inputs -> typed video records, and their frames: the one reader of footage |
| `masks/` | seed -> hole masks |
| `build/` | records -> shards, tables, manifest, by Ray Data |
| `format/` | what a data set consists of |
| `read/` | (seed, position) -> clip; whole videos |
| `inspection/` | verify, show, list, remove |
| `storage/` | one URI for disk and S3; leases |
| `tracking/` | MLflow's store: URI, reachability, errors |
| `cli/` | what every command of the project shares |
"""
