"""How often the files of a checkpoint are downloaded from S3."""

from collections import Counter

import pytest
import torch

from data_pipeline.cli.command import UserError
from data_pipeline.storage import lake
from mlops.tracking import registry
from tests.data_pipeline import handmade
from tests.loopback import bucket_on_s3
from tests.training.test_launch import forget_patience
from training.checkpoints import checkpoint
from training.config.presets import PRESETS
from training.config.serialisation import to_json
from training.driver import launch, worker
from training.driver.initial_weights import weights_of
from training.learn.networks import build_adversary, build_generator
from training.run import main


@pytest.fixture
def downloads(monkeypatch):
    """URI of each file of weights -> how often it was downloaded by this process."""
    count: Counter[str] = Counter()
    before = lake.download

    def counted(uri, local):
        if uri.endswith(".safetensors"):
            count[uri] += 1
        before(uri, local)

    monkeypatch.setattr(lake, "download", counted)
    return count


@pytest.fixture
def train(tmp_path, monkeypatch, new_store):
    """Train on storage in a bucket; the workers write their only checkpoint at once."""
    forget_patience(monkeypatch)
    for variable in ("MLFLOW_TRACKING_URI", "STTN_DATA", "STTN_STORAGE", "RAY_ADDRESS"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr(handmade, "HEIGHT", 96)
    monkeypatch.setattr(handmade, "WIDTH", 96)
    data, uri = str(tmp_path / "tiny" / "v1"), new_store(tmp_path / "store")
    handmade.make(data)

    def written(config, job, *_):
        state = {"config": to_json(config), "config_digest": "c", "data_digest": "d"}
        state |= {"run_id": job.run_id, "commit": job.commit}
        adversary = build_adversary(config, torch.device("cpu"))
        run_uri = lake.join(config.storage, config.name)
        checkpoint.save(run_uri, config.clips, adversary.tensors(), state)

    monkeypatch.setattr(launch, "run_workers", written)
    with bucket_on_s3("runs") as storage:

        def command(*flags):
            places = "--data", data, "--storage", storage, "--tracking-uri", uri
            code = main(["smoke", "--name", "run", *places, *flags])
            return code, uri, checkpoint.checkpoint_uri(f"{storage}/run", 8)

        yield command


def test_registering_a_finished_run_downloads_its_checkpoint_once(train, downloads):
    code, uri, written = train()
    assert code == 0
    assert registry.resolve(uri, "models:/sttn@candidate").tags["checkpoint"] == written
    assert set(downloads.values()) == {1}


def test_a_registered_run_is_downloaded_once_to_be_verified(train, downloads):
    assert train()[0] == 0
    downloads.clear()
    assert train()[0] == 0
    assert set(downloads.values()) == {1}


def test_initial_weights_are_downloaded_once_and_verified(train, downloads):
    _, uri, written = train()
    downloads.clear()
    assert set(weights_of(written, uri)) == {"generator", "discriminator"}
    assert set(downloads.values()) == {1}
    (shard,) = downloads
    lake.write_bytes(shard, lake.read_bytes(shard)[:-1] + b"?")
    with pytest.raises(UserError, match=f"--init {written}: shard-.* has .* bytes"):
        weights_of(written, uri)
    lake.remove(shard)
    with pytest.raises(UserError, match=f"--init {written}: shard-.* is missing"):
        weights_of(written, uri)


def test_initial_weights_are_downloaded_by_one_rank_for_all(tmp_path, monkeypatch):
    config = PRESETS["smoke"]
    weights = build_generator(config.generator).state_dict()
    downloaded, sent = [], []

    def download(uri, _):
        downloaded.append(uri)
        return {"generator": {name: torch.full_like(one, 0.5) for name, one in weights.items()}}

    def from_rank_zero(value):
        if rank == 0:
            sent.append(value)
            return value
        return sent.pop(0)

    monkeypatch.setattr(worker, "weights_of", download)
    monkeypatch.setattr(worker.parallel, "from_rank_zero", from_rank_zero)
    job = worker.Job(config, "1", "c", claim=None, init="models:/sttn/1")
    for rank in range(2):
        place = worker.Place(rank, 2, "node", {0: 1, 1: 2}, torch.device("cpu"))
        adversary, clips = worker._resumed(job, place, str(tmp_path), (96, 96))
        assert clips == 0
        assert all((one == 0.5).all() for one in adversary.generator.parameters())
    assert downloaded == ["models:/sttn/1"]
