"""A training process and the operating system, observed from outside."""

import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.system.processes import OomWatch, blocked, oom_kills

FAULTS = """
import resource, sys
from trainer.system.processes import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():
    return sum(len(bytearray(2**26)) for _ in range(4))  # 64 MiB each, all of it written
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str) -> int:
    command = [sys.executable, "-c", FAULTS, *arguments]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
def test_kept_memory_is_not_mapped_again():
    assert faults("keep") < 0.1 * faults("return")


def system(tmp_path, *, cgroup, events=None, vmstat=0):
    """Make folders that look like /proc and /sys/fs/cgroup; `events` are by file below the latter."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True, exist_ok=True)
    (proc / "vmstat").write_text(f"nr_free_pages 5\noom_kill {vmstat}\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    for name, kills in (events or {}).items():
        path = cgroups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"low 7\noom 9\noom_kill {kills}\noom_group_kill 3\n")
    return proc, cgroups


@pytest.mark.parametrize(
    ("cgroup", "file"),
    [
        ("0::/user/job\n", "user/job/memory.events"),
        ("0::/user/job\n", "user/memory.events"),
        ("0::/\n", "memory.events"),
        ("9:name=systemd:/\n4:memory:/job\n3:cpu:/\n", "memory/job/memory.oom_control"),
        ("4:cpu,memory:/job/part\n0::/\n", "memory/job/memory.oom_control"),
        ("4:memory:/docker/the-host's-name-for-it\n", "memory/memory.oom_control"),
    ],
)
def test_kills_for_memory_are_counted_in_our_own_cgroup_and_those_above_it(tmp_path, cgroup, file):
    before = oom_kills(*system(tmp_path, cgroup=cgroup, events={file: 2}))
    assert oom_kills(*system(tmp_path, cgroup=cgroup, events={file: 3})) == before + 1


def test_kills_for_memory_are_counted_on_the_whole_machine(tmp_path):
    assert oom_kills(*system(tmp_path, cgroup="0::/\n", vmstat=4)) == 4


def test_kills_in_other_cgroups_do_not_count(tmp_path):
    others = {"user/other/memory.events": 5, "memory/job/memory.oom_control": 5}
    assert oom_kills(*system(tmp_path, cgroup="0::/user/job\n", events=others)) == 0


def test_without_counts_from_the_system_no_kill_is_assumed(tmp_path):
    assert oom_kills(tmp_path / "nothing", tmp_path / "nowhere") == 0


class Machine:
    """Kills and time, as set by a test."""

    kills = 0
    now_s = 0.0

    def watch(self):
        return OomWatch(lambda: self.kills, lambda: self.now_s)


def test_a_kill_since_the_watch_began_is_seen():
    machine = Machine()
    machine.kills = 3
    watch = machine.watch()
    assert not watch.killed()
    machine.kills = 4
    assert watch.killed()


def test_a_kill_long_before_is_forgotten_and_a_late_one_is_seen():
    machine = Machine()
    watch = machine.watch()
    machine.kills = 1
    for machine.now_s in range(5, 16, 5):
        watch.look()
        assert watch.killed(), machine.now_s
    for machine.now_s in range(20, 31, 5):
        watch.look()
    assert not watch.killed()
    machine.kills = 2
    assert watch.killed()


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
@pytest.mark.parametrize(("before", "after"), [(0, 500), (900, 900)])
def test_training_processes_and_their_children_are_killed_before_others(before, after):
    code = (
        "import os, subprocess, sys; from pathlib import Path\n"
        "from trainer.system.processes import be_killed_first\n"
        f"Path('/proc/self/oom_score_adj').write_text('{before}')\n"
        "be_killed_first()\n"
        "subprocess.run(['cat', '/proc/self/oom_score_adj'])\n"
    )
    if int(Path("/proc/self/oom_score_adj").read_text()) > before:
        pytest.skip("only root may lower what this process was given")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == after


def test_processes_started_with_a_signal_blocked_do_not_die_of_it():
    with blocked(signal.SIGUSR1):
        child = subprocess.Popen(["sleep", "60"])
    child.send_signal(signal.SIGUSR1)
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == -signal.SIGTERM
    assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


ORPHANS = """
import os, subprocess, sys
from trainer.system.processes import adopt_orphans, end_group
adopt_orphans()
leader = os.fork()
if leader == 0:
    os.setsid()
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    started = [subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE) for _ in range(3)]
    for process in started:
        process.stdout.readline()
    os._exit(0)  # they are orphans now
os.waitpid(leader, 0)
os.killpg(leader, 0)  # they are there
assert end_group(leader)
try:
    os.killpg(leader, 0)
except ProcessLookupError:
    print("gone")
"""


def test_orphans_of_a_child_are_gone_once_its_group_has_ended():
    command = [sys.executable, "-c", ORPHANS]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout == "gone\n"


def test_a_group_that_is_gone_already_has_ended():
    command = [sys.executable, "-c", "from trainer.system.processes import end_group; print(end_group(2**22 - 1))"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout == "True\n"
