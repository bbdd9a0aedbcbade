"""MLflow's store: its URI, whether it can be opened, what its errors mean.

- `store_uri.py`: tracking URIs, and the paths in them
- `store_database.py`: checks in seconds whether the store can be opened
- `client_timeouts.py`: how long MLflow's client waits
- `store_errors.py`: its errors, each in one line with what to do
"""
