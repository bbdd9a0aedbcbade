"""What is free on a CPU: of the machine, and of each control group around the process."""

import pytest
import torch

from training.model import memory

CPU = torch.device("cpu")
GIB = 2**30


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Write what a kernel would tell: a machine with 64 GiB to be had, and these control groups."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    monkeypatch.setattr(memory, "_PROC", proc)
    monkeypatch.setattr(memory, "_GROUPS", groups)

    def tell(cgroup, **files):
        (proc / "self").mkdir(parents=True)
        (proc / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {64 * 2**20} kB\n")
        (proc / "self/cgroup").write_text(cgroup)
        for folder, texts in files.items():
            place = groups / folder.replace("__", "/").strip("/")
            place.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                (place / name).write_text(f"{text}\n")
        return memory.free_bytes(CPU)

    return tell


def two(limit, usage, inactive=0):
    stat = f"anon 1\ninactive_file {inactive}\nactive_file 7"
    return {"memory.max": limit, "memory.current": usage, "memory.stat": stat}


def one(limit, usage, inactive=0):
    stat = f"inactive_file 0\ntotal_inactive_file {inactive}"
    return {
        "memory.limit_in_bytes": limit,
        "memory.usage_in_bytes": usage,
        "memory.stat": stat,
    }


def test_what_is_used_already_is_not_free(system):
    assert system("0::/\n", __=two(16 * GIB, 15 * GIB)) == GIB


def test_pages_of_files_are_free(system):
    assert system("0::/\n", __=two(16 * GIB, 15 * GIB, inactive=10 * GIB)) == 11 * GIB


def test_the_groups_around_it_count_too(system):
    around = {
        "pod": two(8 * GIB, 6 * GIB),
        "pod__one": two(8 * GIB, GIB),
        "pod__one__in": two("max", 0),
    }
    assert system("0::/pod/one/in\n", **around) == 2 * GIB


def test_version_one(system):
    lines = "9:name=systemd:/x\n4:cpu,memory:/docker/abc\n0::/\n"
    unlimited = 9223372036854771712
    given = {
        "memory": one(unlimited, 3 * GIB),
        "memory__docker__abc": one(4 * GIB, 3 * GIB, inactive=GIB // 2),
    }
    assert system(lines, **given) == GIB + GIB // 2


def test_a_path_of_the_host_that_the_container_does_not_see(system):
    lines = "4:memory:/kubepods/burstable/pod1/c1\n"
    assert system(lines, memory=one(4 * GIB, 3 * GIB)) == GIB


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"__": {"memory.max": "max", "memory.current": 1, "memory.stat": ""}},
        {"__": {"memory.max": GIB}},
        {"__": {"memory.max": GIB, "memory.current": "?", "memory.stat": ""}},
        {"__": {"memory.max": GIB, "memory.current": 1, "memory.stat": "one two three"}},
    ],
)
def test_without_a_limit_the_machine_counts(system, files):
    assert system("0::/\n", **files) == 64 * GIB


def test_never_less_than_nothing(system):
    assert system("0::/\n", __=two(GIB, 2 * GIB)) == 0
