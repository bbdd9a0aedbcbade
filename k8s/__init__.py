"""On a cluster: the system as a Helm release, its jobs, and who has new versions evaluated.

| file | idea |
|---|---|
| `cluster.py` | door: install, upgrade, look at, take away the release |
| `submit.py` | door: shard, train or evaluate as a job, watched to its end |
| `controller.py` | door, a deployment of the chart: registry → evaluation jobs |
| `trial.py` | door, `helm test`: store, registry and Ray tried from inside |
| `store.py` | the store, tried from inside |
| `config.py` | what the doors can be told |
| `asked.py` | what is asked of a job: checked here, its entrypoint and its name |
| `jobs.py` | RayJobs: submitted once, watched, ended, listed |
| `rayjob.py` | one as an object: made of the chart's template, and what is to be said of it |
| `log.py` | what a RayJob prints |
| `bare.py` | Ray's Jobs API, with or without Kubernetes: submit once, follow, stop |
| `state.py` | the words for both |
| `parts.py` | the parts of the release, and how they are |
| `health.py` | what keeps pods from running, in words |
| `api.py` | the API server: one call, and the ways in which it can go wrong |
| `leader.py` | one of several replicas at a time |
| `helm.py` | Helm's binary |
| `dashboards.py` | Grafana dashboards: Ray's as its version makes them, and ours |
| `image/` | the one image of all pods |
"""
