"""On a cluster: jobs, made and watched from elsewhere.

| file | idea |
|---|---|
| `submit.py` | door: shard, train or evaluate as a job of a Ray cluster |
| `config.py` | what it can be told |
| `asked.py` | what is asked of a job: checked here, its entrypoint and its name |
| `bare.py` | Ray's Jobs API: submit once, follow through broken connections, stop |
"""
