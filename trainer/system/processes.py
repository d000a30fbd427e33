"""Operating system settings of a training process."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import CDLL
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD_BYTES = 2**30
_NEVER_TRIM = 2**31 - 1
_OOM_SCORE_ADJUSTMENT = 500
"""From -1000 to 1000, in thousandths of the memory: enough to be killed before a driver that must survive."""

_OOM_WINDOW_S = 10.0
_GONE_S = 10.0
_POLL_S = 0.01


def die_with_parent() -> None:
    """Linux: make the kernel kill this process when its parent dies, for any reason. Elsewhere: do nothing."""
    with suppress(OSError, AttributeError):
        CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Linux: become the parent of descendants whose own parent dies, so that `end_group` can wait for them."""
    with suppress(OSError, AttributeError):
        CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_group(leader: int) -> bool:
    """Kill the processes of a group that our child has led, and wait until they are gone and their devices are free.

    Args:
        leader: process ID of the child.

    Returns:
        False if some are still there after 10 s, because the kernel waits for a device or a disk on their behalf.
    """
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
    deadline_s = time.monotonic() + _GONE_S
    while time.monotonic() < deadline_s:
        try:
            if os.waitpid(-leader, os.WNOHANG)[0] == 0:
                time.sleep(_POLL_S)
        except ChildProcessError:
            return True
    return False


def keep_freed_memory() -> None:
    """glibc: keep freed memory for the next request instead of returning it to the kernel. Elsewhere: do nothing.

    On a CPU each training step requests the same hundreds of MiB that the previous one freed. If they are mapped again,
    every page costs a fault: 5 to 10 % of a step. The peak memory stays about the same.
    """
    with suppress(OSError, AttributeError):
        libc = CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIM)


def be_killed_first() -> None:
    """Linux: when memory runs out, make the kernel kill this process and its children before others.

    Never lowers the current value: Ray sets it for its workers, and only root may lower it.
    """
    path = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):
        if int(path.read_text()) < _OOM_SCORE_ADJUSTMENT:
            path.write_text(str(_OOM_SCORE_ADJUSTMENT))


@contextmanager
def blocked(signum: signal.Signals) -> Iterator[None]:
    """Block the signal in processes started in this block, and in their children, until one unblocks it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signum})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Linux: return a count that rises when the kernel kills a process near this one for lack of memory.

    The count adds the values of this process's cgroups and their parents (version 2: `memory.events`, version 1:
    `memory.oom_control`) and the count of the whole machine. Unreadable values count as 0; on other systems, so do all
    values.
    """
    total = _count(proc / "vmstat")
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, name = cgroups, "memory.events"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.oom_control"
        else:
            continue
        # Inside a container the path may be that of the host. Only the root of its hierarchy is visible here then.
        own = root / path.lstrip("/")
        total += sum(_count(folder / name) for folder in (own, *own.parents) if folder.is_relative_to(root))
    return total


class OomWatch:
    """Detector of recent kills by the kernel for lack of memory.

    Only recent kills count: a trial killed hours after another one ran out of memory did not run out itself. Call
    `look` while waiting. Each call may move the start of "recent" forward, to 10 to 20 s ago. Without such calls, it is
    the creation of this object.
    """

    def __init__(self, count: Callable[[], int] = oom_kills, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._older = self._newer = count()
        self._taken_s = clock()

    def look(self) -> None:
        """Read the counts, every 10 s at most, so that calls are cheap."""
        if self._clock() - self._taken_s >= _OOM_WINDOW_S:
            self._older, self._newer, self._taken_s = self._newer, self._count(), self._clock()

    def killed(self) -> bool:
        return self._count() > self._older


def _count(path: Path) -> int:
    counts = (line.split() for line in _lines(path))
    return sum(int(words[1]) for words in counts if len(words) == 2 and words[0] == "oom_kill" and words[1].isdecimal())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
