"""Choose how many decoded images the runs on a machine share, so that sharing is never slower than decoding."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tuner.contract import ImageCache, ParamValue
from tuner.system.filesystems import file_system, is_network
from tuner.system.memory import available_bytes

_MEMORY_SHARE = 0.5
"""Share of the available memory for decoded images. More would be read from the disk again in each epoch."""
_DISK_SHARE = 0.2
"""Share of the free disk space."""
_FILE_BYTES = 4096
"""Mean overhead of a file, for its header and its last block."""
_WORTH_A_LINE_BYTES = 2**30

_IN_RAM: tuple[ParamValue, ...] = (True, "ram")
"""Values of ultralytics' argument `cache` with which each run keeps a copy of the images in its memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Room for decoded images on a machine."""

    memory_bytes: int
    """Available memory."""
    disk_bytes: int
    """Free disk space for the folder of the images, including what they take now."""
    file_system: str
    """Type of the folder's file system; "" if unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheChoice:
    """Maximum size of the decoded images that runs share."""

    bound_bytes: int
    """0 to share none."""
    notes: tuple[str, ...] = ()
    """Lines for the user."""


def room_for(cache: ImageCache, reserved_bytes: int = 0) -> Room:
    """Look at the room on this machine, apart from the disk space that is reserved for other files."""
    folder = Path(cache.folder)
    return Room(
        memory_bytes=available_bytes(),
        disk_bytes=max(_free_bytes(folder) - reserved_bytes, 0) + cache.used_bytes,
        file_system=file_system(folder),
    )


def _free_bytes(folder: Path) -> int:
    """Return the free space of the disk on which a folder is, or would be; 0 if it cannot be reached."""
    for place in (folder, *folder.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return 0


def decoded_bytes(cache: ImageCache, sizes: Sequence[int]) -> int:
    """Return the size of a data set's decoded images, at all these image sizes together."""
    return round(sum(size**2 for size in sizes) * cache.bytes_per_square) + len(sizes) * cache.num_images * _FILE_BYTES


def chosen_cache(
    asked_bytes: int | None, cache: ImageCache | None, sizes: Sequence[int], room: Room | None
) -> CacheChoice:
    """Choose the maximum size of the shared images.

    Args:
        asked_bytes: Size that the user wants; None to choose.
        cache: Cache of the trainer; None if it has none.
        sizes: All image sizes that the runs may have.
        room: Room on the machine that trains; None if it is another one.
    """
    if asked_bytes == 0:
        return CacheChoice(bound_bytes=0)
    if cache is None:
        without = "--cache-gib has no effect, because this trainer does not share decoded images"
        return CacheChoice(bound_bytes=0, notes=() if asked_bytes is None else (without,))
    needed = decoded_bytes(cache, sizes)
    if asked_bytes is not None:
        part = (
            f"--cache-gib {_gib(asked_bytes)} holds part of the {_gib(needed)} GiB of decoded images; the others are "
        )
        part += "decoded in each epoch"
        return CacheChoice(bound_bytes=asked_bytes, notes=(part,) if needed > asked_bytes else ())
    reason = _reason_against(needed, room, cache.folder)
    if room is None or reason:
        said = (
            f"images are decoded again in each epoch: {reason}; --cache-gib N keeps up to N GiB of them for all trials"
        )
        return CacheChoice(bound_bytes=0, notes=(said,))
    bound = int(min(_MEMORY_SHARE * room.memory_bytes, _DISK_SHARE * room.disk_bytes))
    said = f"all trials share decoded images, {_gib(needed)} GiB in '{cache.folder}'; --cache-gib 0 keeps none"
    return CacheChoice(bound_bytes=bound, notes=(said,) if needed >= _WORTH_A_LINE_BYTES else ())


def _reason_against(needed: int, room: Room | None, folder: str) -> str:
    """Return why these decoded images are not shared unless the user asks for it; "" if nothing is against it."""
    if room is None:
        return "the memory and the disks of a cluster's machines are not known"
    if is_network(room.file_system):
        return f"their folder '{folder}' is on a network file system ({room.file_system})"
    if needed > _MEMORY_SHARE * room.memory_bytes:
        return (
            f"decoded they are {_gib(needed)} GiB, more than half of the {_gib(room.memory_bytes)} GiB of free memory"
        )
    if needed > _DISK_SHARE * room.disk_bytes:
        return f"decoded they are {_gib(needed)} GiB, more than a fifth of the {_gib(room.disk_bytes)} GiB of free disk"
    return ""


def cache_bound(
    asked_bytes: int | None,
    cache: ImageCache | None,
    sizes: Sequence[int],
    *,
    is_here: bool,
    reserved_bytes: int = 0,
    tell: Callable[[str], None],
) -> int:
    """Choose the maximum size of the shared images for a run.

    Args:
        asked_bytes: Size that the user wants; None to choose.
        cache: Cache of the trainer; None if it has none.
        sizes: All image sizes that the runs may have.
        is_here: True if this machine trains, False for a cluster.
        reserved_bytes: Disk space that other files of the run need.
        tell: Called with each line for the user.

    Returns:
        The size in bytes; 0 to share none.
    """
    room = room_for(cache, reserved_bytes) if cache is not None and is_here else None
    choice = chosen_cache(asked_bytes, cache, sizes, room)
    for line in choice.notes:
        tell(line)
    return choice.bound_bytes


def copies_note(cache: ImageCache | None, sizes: Sequence[int], value: ParamValue, *, trials: int, room: Room) -> str:
    """Warn if `cache: ram` keeps more copies of the decoded images than memory has room for; "" if they fit.

    ultralytics only checks that the copy of one trial fits when it starts.

    Args:
        cache: Cache of the trainer, with the size of the images; None if it is not known.
        sizes: Image sizes of the space.
        value: Value of the argument `cache` in all trials.
        trials: Trials that train at the same time.
        room: Room on the machine that trains.
    """
    if cache is None or value not in _IN_RAM or trials == 1:
        return ""
    copies = trials * decoded_bytes(cache, sizes[-1:])
    if copies <= room.memory_bytes:
        return ""
    return (
        f"`cache: ram` keeps a copy of the decoded images in each of {trials} trials, up to {_gib(copies)} GiB, but "
        f"{_gib(room.memory_bytes)} GiB of memory are free; leave it out of the space: all trials share one copy "
        "(--cache-gib)"
    )


def _gib(number: int) -> str:
    return f"{number / 2**30:.3g}"
