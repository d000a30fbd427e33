"""Find how much memory this process and its children may still use, in a container or out of one."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")


def available_bytes(own: Path = Path("/proc/self/cgroup"), root: Path = _CGROUPS) -> int:
    """Return the memory that is available, caches of files included: that of the machine, or less in a cgroup.

    Args:
        own: File that names the cgroups of this process.
        root: Folder of the cgroups.
    """
    return max(min([psutil.virtual_memory().available, *_left_in_cgroups(own, root)]), 0)


def _left_in_cgroups(own: Path, root: Path) -> Iterator[int]:
    """Yield what each limit leaves: version 2 in the cgroup and those around it, version 1 in the cgroup alone."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = [part for part in path.split("/") if part and part != ".."]
        if not controllers:
            for depth in range(len(names) + 1):
                yield from _left(root.joinpath(*names[:depth]), "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            files = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            for folder in (root / "memory", root / "memory" / Path(*names)):  # a container sees its own as the root
                yield from _left(folder, *files)


def _left(folder: Path, limit: str, usage: str, cached: str) -> Iterator[int]:
    with suppress(OSError, ValueError):  # without a limit it is "max", or the file is missing
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        used = int((folder / usage).read_text()) - int(stat.get(cached, 0))
        yield int((folder / limit).read_text()) - used
