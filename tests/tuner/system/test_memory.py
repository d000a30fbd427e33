"""Find the available memory: a container may have less than its machine."""

import psutil
import pytest

from tuner.system.memory import available_bytes

GIB = 2**30


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 64 * GIB}))


def group(folder, limit, used, cached, names=("memory.max", "memory.current", "inactive_file")):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cached}\n")


def available(tmp_path, line):
    (tmp_path / "own").write_text(f"1:name=systemd:/x\n{line}\n")
    return available_bytes(tmp_path / "own", tmp_path / "cgroup")


@pytest.mark.parametrize("line", ["0::/a/b", "0::/../a/b"])
def test_the_smallest_limit_of_version_2_counts_without_the_cache_of_files(tmp_path, line):
    group(tmp_path / "cgroup/a", 32 * GIB, 30 * GIB, 20 * GIB)
    group(tmp_path / "cgroup/a/b", "max", GIB, 0)
    assert available(tmp_path, line) == 22 * GIB
    group(tmp_path / "cgroup/a/b", 8 * GIB, 2 * GIB, GIB)
    assert available(tmp_path, line) == 7 * GIB


def test_the_root_of_a_container_is_checked(tmp_path):
    group(tmp_path / "cgroup", 4 * GIB, GIB, 0)
    assert available(tmp_path, "0::/") == 3 * GIB


@pytest.mark.parametrize("place", ["memory", "memory/docker/x"])
def test_limits_of_version_1_count(tmp_path, place):
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    group(tmp_path / "cgroup" / place, 16 * GIB, 5 * GIB, GIB, names)
    assert available(tmp_path, "4:memory:/docker/x") == 12 * GIB


def test_without_a_limit_the_memory_of_the_machine_counts(tmp_path):
    group(tmp_path / "cgroup", 9223372036854771712, GIB, 0)
    assert available(tmp_path, "0::/") == 64 * GIB
    assert available_bytes(tmp_path / "missing", tmp_path) == 64 * GIB


def test_a_group_above_its_limit_leaves_nothing(tmp_path):
    group(tmp_path / "cgroup", GIB, 2 * GIB, 0)
    assert available(tmp_path, "0::/") == 0
