"""How the tests are shared out when several processes run them."""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent
# Rooms whose tests share what is dear to make: one process runs all of them. Elsewhere a file does.
_TOGETHER = ("data_pipeline", "mlops")


@pytest.hookimpl(tryfirst=True)  # before xdist looks
def pytest_collection_modifyitems(items):
    """Name the group of each test; a group is run by one process, in order."""
    for item in items:
        room, *rest = item.path.relative_to(_HERE).parts
        group = room if room in _TOGETHER else "/".join((room, *rest))
        item.add_marker(pytest.mark.xdist_group(group))
