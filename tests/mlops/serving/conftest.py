import pytest

from mlops.tracking import registry
from tests.mlops import foreign
from tests.mlops.serving.in_process import OneAtATime
from tests.tiny import write_video


@pytest.fixture(scope="session")
def black(tmp_path_factory):
    """A version that fills black, at another size than the videos."""
    model = foreign.save(tmp_path_factory.mktemp("model") / "v", foreign.BLACK, size=(48, 32))
    return registry.Version("starter", "", "", str(model))


@pytest.fixture
def models(black):
    return OneAtATime("", black)


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """12 frames of 96x64."""
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", frames=12, width=96, height=64)
