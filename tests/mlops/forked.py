"""Processes forked from a server that has imported the slow modules."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

# One fork server per test process: it holds no database connection, and no version's code.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["mlops.evaluation.scoring", "mlops.promotion.promotion", "mlops.promotion.pruning", "torch"]
)


class Rows:
    """Stands in for a data set of Ray Data: one actor, in a forked process instead of Ray's."""

    def __init__(self, items, **_):
        self._items = items

    def flat_map(self, actor, *, fn_constructor_args, **_):
        with ProcessPoolExecutor(1, mp_context=FORKS) as process:
            self._rows = process.submit(_mapped, actor, fn_constructor_args, self._items).result()
        return self

    def iter_rows(self):
        return iter(self._rows)


def _mapped(actor, arguments, items):
    one = actor(*arguments)
    return [row for item in items for row in one(item)]
