"""Estimate the disk space that a study needs, check the free space, and remove files that are not needed."""

import shutil
from pathlib import Path

from tuner.contract import WEIGHTS
from tuner.exceptions import MachineError

_KEPT_WHILE_RUNNING = 4
"""Checkpoints of a running trial: the last two, the best, and one that is being written."""

_KEPT_WHEN_COMPLETE = 2
"""Checkpoints of a complete trial (best and last) or of a paused trial (the last two)."""

_FULL_RUN_EVERY = 10
"""Interval in epochs of the checkpoints that the final run keeps in addition to those of any trial."""

_LOGS_BYTES = 64 * 2**20


def needed_bytes(
    *,
    checkpoint_bytes: int,
    slots: int,
    trials: int,
    reduction_factor: int,
    promote_epochs: int,
    pausing_rungs: int = 0,
) -> int:
    """Estimate the maximum disk usage of a search and the final run, in bytes.

    Args:
        checkpoint_bytes: Size of one checkpoint.
        slots: Number of trials that train at the same time.
        trials: Number of trials left to train.
        reduction_factor: With rungs, one in this many trials is expected to run to its end; else 1.
        promote_epochs: Epochs of the final run; 0 without a final run.
        pausing_rungs: Number of rungs at which trials pause until they are resumed; at each of them at most as many
            wait as may continue from there.
    """
    places = -(-trials // reduction_factor)
    complete = places * (1 + pausing_rungs) + slots
    full_run = promote_epochs // _FULL_RUN_EVERY + _KEPT_WHILE_RUNNING if promote_epochs else 0
    kept = slots * _KEPT_WHILE_RUNNING + complete * _KEPT_WHEN_COMPLETE + full_run
    return kept * checkpoint_bytes + _LOGS_BYTES


def reserve_bytes(*, checkpoint_bytes: int, slots: int) -> int:
    """Return the bytes that must stay free while trials train: one more checkpoint each, and space for the records."""
    return slots * checkpoint_bytes + _LOGS_BYTES // 4


def free_bytes(folder: Path) -> int:
    """Return the free bytes for this user on the disk of an existing folder."""
    return shutil.disk_usage(folder).free


def require(folder: Path, needed: int, what: str) -> None:
    """Check that the disk has enough free space to start.

    Raises:
        MachineError: the disk has too little free space.
    """
    free = free_bytes(folder)
    if free < needed:
        raise MachineError(
            f"{what} needs about {_mib(needed)} in '{folder}', but only {_mib(free)} are free; "
            "free disk space, or choose another --home."
        )


def shortage(folder: Path, reserve: int) -> str | None:
    """Return the problem if fewer than `reserve` bytes are free; else None."""
    free = free_bytes(folder)
    return f"only {_mib(free)} are left on the disk of '{folder}'; free disk space" if free < reserve else None


def discard_weights(trial_directory: Path) -> None:
    """Remove the weights of a trial that will not continue; a second call removes what a dying trainer still writes."""
    shutil.rmtree(trial_directory / WEIGHTS, ignore_errors=True)


def _mib(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB"
