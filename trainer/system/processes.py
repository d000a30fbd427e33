"""What a training process asks of the operating system."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import CDLL
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD_BYTES = 2**30
_NEVER_TRIM = 2**31 - 1
_OOM_SCORE_ADJUSTMENT = 500
"""Of -1000 to 1000, in thousandths of the memory: enough to be taken before a driver that is not to die."""

_OOM_WINDOW_S = 10.0


def die_with_parent() -> None:
    """Linux: have the kernel kill this process when its parent dies, however that happens. Elsewhere: nothing."""
    with suppress(OSError, AttributeError):
        CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def keep_freed_memory() -> None:
    """glibc: keep freed memory for the next request instead of returning it to the kernel. Elsewhere: nothing.

    On a CPU each training step asks for the same hundreds of MiB that the last one freed. Mapped anew, every page
    costs a fault: 5 to 10 % of a step. The memory in use at most stays about the same.
    """
    with suppress(OSError, AttributeError):
        libc = CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIM)


def be_killed_first() -> None:
    """Linux: when memory runs out, have the kernel take this process and its children rather than others.

    Never lowers what it finds, which Ray sets for its workers and only root may do.
    """
    path = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):
        if int(path.read_text()) < _OOM_SCORE_ADJUSTMENT:
            path.write_text(str(_OOM_SCORE_ADJUSTMENT))


@contextmanager
def blocked(signum: signal.Signals) -> Iterator[None]:
    """Processes started meanwhile are born with the signal blocked, and so are theirs until one unblocks it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signum})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Linux: a number that rises whenever the kernel kills a process near this one because memory ran out.

    It adds up what this process' cgroups and those above them tell (version 2: `memory.events`, version 1:
    `memory.oom_control`), and the machine's own count. What cannot be read counts as 0, elsewhere all of it.
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
        # Inside a container the path may be that of the host, of which only the root is to be seen here.
        own = root / path.lstrip("/")
        total += sum(_count(folder / name) for folder in (own, *own.parents) if folder.is_relative_to(root))
    return total


class OomWatch:
    """Whether the kernel has killed for memory lately.

    Lately, because a trial that ends by a kill hours after another one ran out of memory did not. `look` is for
    whoever waits: each call may move the beginning of "lately" up to 10 to 20 s ago; without it, it is the making.
    """

    def __init__(self, count: Callable[[], int] = oom_kills, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._older = self._newer = count()
        self._taken_s = clock()

    def look(self) -> None:
        """Cheap: reads the counts every 10 s at most."""
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
