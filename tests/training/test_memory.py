"""Free memory of a CPU: of the machine, and of each cgroup around the process."""

import pytest
import torch

from training.model import memory

CPU = torch.device("cpu")
GIB = 2**30


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Free bytes that are found on a machine with 64 GiB available and these cgroups."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    monkeypatch.setattr(memory, "_PROC", proc)
    monkeypatch.setattr(memory, "_GROUPS", groups)

    def free_with(cgroup, **files):
        (proc / "self").mkdir(parents=True)
        (proc / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {64 * 2**20} kB\n")
        (proc / "self/cgroup").write_text(cgroup)
        for folder, texts in files.items():
            place = groups / folder.replace("__", "/").strip("/")
            place.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                (place / name).write_text(f"{text}\n")
        return memory.free_bytes(CPU)

    return free_with


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


def test_used_memory_is_not_free(system):
    assert system("0::/\n", __=two(16 * GIB, 15 * GIB)) == GIB


def test_page_cache_counts_as_free(system):
    assert system("0::/\n", __=two(16 * GIB, 15 * GIB, inactive=10 * GIB)) == 11 * GIB


def test_parent_cgroup_limits_count(system):
    around = {
        "pod": two(8 * GIB, 6 * GIB),
        "pod__one": two(8 * GIB, GIB),
        "pod__one__in": two("max", 0),
    }
    assert system("0::/pod/one/in\n", **around) == 2 * GIB


def test_cgroup_version_one(system):
    lines = "9:name=systemd:/x\n4:cpu,memory:/docker/abc\n0::/\n"
    unlimited = 9223372036854771712
    given = {
        "memory": one(unlimited, 3 * GIB),
        "memory__docker__abc": one(4 * GIB, 3 * GIB, inactive=GIB // 2),
    }
    assert system(lines, **given) == GIB + GIB // 2


def test_a_host_cgroup_path_not_visible_in_the_container(system):
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
def test_without_a_cgroup_limit_free_memory_is_the_machines(system, files):
    assert system("0::/\n", **files) == 64 * GIB


def test_free_memory_is_never_negative(system):
    assert system("0::/\n", __=two(GIB, 2 * GIB)) == 0
