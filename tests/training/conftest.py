import pytest
import torch

from data_pipeline.cli.ray_session import ray_session
from tests.tiny import shard_tiny, write_videos


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Thread synchronisation costs small networks more than it gains."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def data_sets(once):
    """URIs of tiny data sets that no test changes; 100 pixels fit no patch grids."""
    kinds = {
        "fitting": {},
        "100 wide": {"width": 100},
        "shortest held out": {"held_out": ("video-2",)},
        "nothing held out": {"held_out": ()},
    }

    def make(folder):
        videos = write_videos(folder / "videos", (12, 20, 9))
        with ray_session(2):
            for kind, how in kinds.items():
                shard_tiny(folder / kind, videos, **how)

    folder = once("training-lake", make)
    return {kind: str(folder / kind) for kind in kinds}
