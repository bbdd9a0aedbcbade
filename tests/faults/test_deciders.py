"""Concurrent processes that evaluate and promote; one of them is killed."""

import random
import time

import pytest
from ray.cluster_utils import Cluster

from mlops.promotion import decisions
from mlops.tracking import connection, names, registry, runs
from tests.faults.processes import finish, start_command
from tests.mlops import foreign
from tests.tiny import shard_tiny, write_videos

pytestmark = [
    pytest.mark.distributed,
    # Ray leaves one open when it looks for ports.
    pytest.mark.filterwarnings("ignore:.*unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning"),
]

MODEL = names.MODEL
WATCHED_S = 300  # each version may be compared with every champion promoted meanwhile
LEVELS = {"candidate": 15.0, **foreign.CLASSICAL}
# From worst to best, so that most replace the champion before.
FILLS = [foreign.DIMMED.format(share=share) for share in (0.98, 0.985, 0.99)]


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lake")
    return shard_tiny(folder / "tiny" / "v1", write_videos(folder / "videos", [12, 12])).uri


@pytest.fixture(scope="module")
def cluster(data_set):
    """One Ray for all evaluations.

    After the data set: a local Ray sets variables for the processes to come, tokens among them.
    """
    assert data_set
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
    yield cluster
    cluster.shutdown()


def evaluations(uri):
    """(version, champion it was compared with) of each recorded and each running evaluation."""
    wanted = {names.KIND: names.KIND_EVALUATION}
    return tuple(
        sorted(
            (run.data.tags[names.MODEL_VERSION], run.data.tags[names.AGAINST_VERSION])
            for run in runs.find_all(uri, wanted, finished=status == "FINISHED", limit=100)
            if run.info.status == status
        )
        for status in ("FINISHED", "RUNNING")
    )


def assert_history_is_whole(uri):
    """Decisions are serialised: each starts from the last one's champion; aliases are current."""
    champion, previous = names.NO_VERSION, None
    for entry in decisions.history(uri, MODEL):
        assert entry.before == champion
        if entry.after != champion:
            champion, previous = entry.after, champion
    found = registry.alias_or_none(uri, MODEL, names.CHAMPION)
    assert found.version == champion
    before = registry.alias_or_none(uri, MODEL, names.PREVIOUS)
    assert (before.version if before else names.NO_VERSION) == previous


def promote_two_at_once(uri, folder):
    versions = [foreign.register(uri, folder / f"model-{i}") for i in range(2)]
    for version in versions:
        foreign.record_evaluation(uri, version, folder / f"results-{version.version}", **LEVELS)
    both = [
        start_command("mlops/promote.py", "--tracking-uri", uri, "--model", version.uri, "--json")
        for version in versions
    ]
    ends = [finish(process) for process in both]
    assert sorted(code for code, _, _ in ends) == [0, 2], ends
    (lost,) = (err for code, _, err in ends if code == 2)
    assert "was evaluated against no champion, but the champion is version" in lost
    assert len(decisions.history(uri, MODEL)) == 1
    assert_history_is_whole(uri)


def watch_by_two(uri, folder, data_set, cluster, kill):
    """Two watchers that also promote, three versions; one of them may be killed.

    `kill`: seconds after the start of an evaluation; None = no watcher is killed.
    """
    versions = [foreign.register(uri, folder / f"model-{i}", body) for i, body in enumerate(FILLS)]
    flags = (
        "--tracking-uri", uri, "--data", data_set, "--clips-per-video", 1, "--frames-per-clip", 4,
        "--workers", 1, "--promote", "--watch", "--until-idle",
    )  # fmt: skip
    watchers = [
        start_command("mlops/evaluate.py", *flags, RAY_ADDRESS=cluster.address) for _ in range(2)
    ]
    if kill is not None:
        end = time.monotonic() + 60
        while not any(evaluations(uri)) and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(kill)
        watchers[0].kill()
        print(f"SIGKILL to a watcher {kill:.1f} s after; recorded, running: {evaluations(uri)}")
    ends = [finish(process, WATCHED_S) for process in watchers]
    assert [code for code, _, _ in ends[1:]] == [0], ends
    assert ends[0][0] in ((-9, 0) if kill is not None else (0,)), ends
    recorded, running = evaluations(uri)
    assert len(set(recorded)) == len(recorded)
    assert {version for version, _ in recorded} == {version.version for version in versions}
    assert running == []
    for version in versions:
        tags = registry.resolve(uri, version.uri).tags
        assert tags[names.EVALUATION] == names.EVALUATION_DONE
        run = connection.client(uri).get_run(tags[names.EVALUATION_RUN])
        assert run.info.status == "FINISHED"
    assert_history_is_whole(uri)
    assert registry.resolve(uri, f"models:/{MODEL}@champion").version == versions[-1].version


@pytest.mark.waits
def test_one_of_two_concurrent_promotions_wins_and_the_other_is_refused(new_store, tmp_path):
    promote_two_at_once(new_store(tmp_path / "store"), tmp_path)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kill", [None, 0.5])
def test_two_watchers_record_one_result_for_each_version(
    new_store, tmp_path, data_set, cluster, kill
):
    watch_by_two(new_store(tmp_path / "store"), tmp_path, data_set, cluster, kill)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fifty_rounds_of_two_concurrent_promotions(new_store, tmp_path):
    for times in range(50):
        folder = tmp_path / str(times)
        promote_two_at_once(new_store(folder / "store"), folder)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_fifty_rounds_of_two_watchers(new_store, tmp_path, data_set, cluster):
    """Every other time one of them is killed, sooner or later."""
    chance = random.Random(0)
    for times in range(50):
        folder, kill = tmp_path / str(times), chance.uniform(0, 25) if times % 2 else None
        watch_by_two(new_store(folder / "store"), folder, data_set, cluster, kill)
