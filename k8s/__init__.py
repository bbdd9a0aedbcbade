"""On a cluster: the system as a Helm release, its jobs, and the controller that starts evaluations.

| file | idea |
|---|---|
| `cluster.py` | command: install, upgrade, inspect, uninstall the release |
| `submit.py` | command: shard, train, evaluate or inpaint as a job, followed to its end |
| `controller.py` | command, a deployment of the chart: polls the registry; one replica leads |
| `evaluation_jobs.py` | one evaluation job for each pending version of the registry |
| `self_test.py` | command, `helm test`: storage, registry and Ray used from inside the cluster |
| `storage_check.py` | writes, reads and removes a file of the storage |
| `config.py` | flags of the commands |
| `job_request.py` | a command line → a job: validated, its entrypoint and its name |
| `job_state.py` | states of a submission and how a job ends |
| `rayjob_client.py` | RayJobs of Kubernetes: submit once, follow, delete, list |
| `rayjob.py` | a RayJob object: made from the chart's template; its status in words |
| `rayjob_log.py` | the log and exit code of a RayJob |
| `keep_log.py` | command, the entrypoint of jobs: runs a command and keeps its log |
| `jobs_api.py` | Ray's Jobs API, with or without Kubernetes: submit once, follow, stop |
| `release_status.py` | the components of the release, and whether each is ready |
| `kueue.py` | why Kueue does not start a job or a cluster, in words |
| `pod_problems.py` | why pods do not run, in words |
| `api.py` | client of the Kubernetes API server |
| `port_forward.py` | HTTP over a port of a pod that the API server forwards |
| `leader_election.py` | one active replica of several, by a Lease |
| `helm.py` | Helm's binary |
| `dashboards.py` | Grafana dashboards: Ray's as its version makes them, and ours |
| `image/` | the one image of all pods |
"""
