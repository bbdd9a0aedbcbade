"""Commands that talk to MLflow: as any other, and MLflow's errors become one line.

Loads no MLflow, so that `--help` and a refused flag answer at once.
"""

from collections.abc import Callable, Sequence

from data_pipeline.cli import command
from data_pipeline.cli.command import Refused, UserError
from data_pipeline.tracking import client_timeouts


def run_command(body: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """`command.run_command`, with short timeouts of MLflow's client and its errors in one line."""
    client_timeouts.shorten()

    def in_one_line(argv: Sequence[str]) -> int:
        try:
            return body(argv)
        except (UserError, Refused):
            raise
        except Exception as error:
            import mlflow

            from data_pipeline.tracking.store_errors import as_store_error

            found = as_store_error(error, mlflow.get_tracking_uri())
            if found is None:
                raise  # a fault of ours, or of MLflow: its traceback is needed
            raise found from error

    return command.run_command(in_one_line, argv)
