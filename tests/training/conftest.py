import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Threads that wait for each other cost small networks more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
