"""Timeouts of MLflow's client: seconds in commands, MLflow's own minutes after long work.

Loads no MLflow, which reads these variables at each request.
"""

import os

# MLflow's client, and PostgreSQL's, would try for minutes before they give up.
SHORT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "PGCONNECT_TIMEOUT": "10",
}
_shortened: set[str] = set()  # variables that this process has set, not its user


def shorten() -> None:
    """Have MLflow's client give up after seconds, unless the user has set the variables."""
    for name, value in SHORT.items():
        if name not in os.environ:
            os.environ[name] = value
            _shortened.add(name)


def restore() -> None:
    """Restore its waits of minutes: the result to record took long to compute."""
    while _shortened:
        os.environ.pop(_shortened.pop(), None)
