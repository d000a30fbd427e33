"""Room on the disk: what a study needs, what there is, and what can go."""

import shutil
from pathlib import Path

from tuner.contract import WEIGHTS
from tuner.exceptions import MachineError

_KEPT_WHILE_RUNNING = 4
"""Checkpoints of a running trial: the last two, the best, and the one that is being written."""

_KEPT_WHEN_COMPLETE = 2
"""The best and the last; of a paused trial, the last two."""

_FULL_RUN_EVERY = 10
"""A full run keeps the checkpoint of so many epochs too, besides those of any trial."""

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
    """What a search and the winner's full run write at most, roughly.

    Args:
        trials: still to be trained.
        reduction_factor: One in so many trials is expected to run to its end, where there are rungs; else 1.
        promote_epochs: 0 where nothing is promoted.
        pausing_rungs: Rungs at which trials wait to be called back: at each as many as may go on from there, at most.
    """
    places = -(-trials // reduction_factor)
    complete = places * (1 + pausing_rungs) + slots
    full_run = promote_epochs // _FULL_RUN_EVERY + _KEPT_WHILE_RUNNING if promote_epochs else 0
    kept = slots * _KEPT_WHILE_RUNNING + complete * _KEPT_WHEN_COMPLETE + full_run
    return kept * checkpoint_bytes + _LOGS_BYTES


def reserve_bytes(*, checkpoint_bytes: int, slots: int) -> int:
    """What must stay free while trials train: one more checkpoint each, and room for the records."""
    return slots * checkpoint_bytes + _LOGS_BYTES // 4


def free_bytes(folder: Path) -> int:
    """Room that this user has on the disk of an existing folder."""
    return shutil.disk_usage(folder).free


def require(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        MachineError: it has not.
    """
    free = free_bytes(folder)
    if free < needed:
        raise MachineError(
            f"{what} needs about {_mib(needed)} in '{folder}', but only {_mib(free)} are free; "
            "make room, or choose another --home."
        )


def shortage(folder: Path, reserve: int) -> str | None:
    """What is wrong, when less than `reserve` bytes are left."""
    free = free_bytes(folder)
    return f"only {_mib(free)} are left on the disk of '{folder}'; make room" if free < reserve else None


def discard_weights(trial_directory: Path) -> None:
    """Remove the weights of a trial that will never go on. What a dying trainer still writes goes at the next call."""
    shutil.rmtree(trial_directory / WEIGHTS, ignore_errors=True)


def _mib(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB"
