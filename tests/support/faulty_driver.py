"""`python driver.py PLACE VERB ...`: the `tune` command, with a fault at a named place in its own code.

PLACE is `module:attribute:before|after:N`: the N-th call of that function does not begin, or does not return. With
`full` for `before` nothing is killed: from the N-th call on the disk takes half of what that function writes. An empty
PLACE does nothing. The order in which values arrive is appended to the file that the variable ARRIVALS names.
"""

import errno
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TypedDict, Unpack
from unittest.mock import patch

if TYPE_CHECKING:
    from optuna.trial import TrialState

    from tuner.study import TrialFacts


class Conclusion(TypedDict, total=False):
    """Keyword arguments of `StudySession.finish` other than the curve."""

    value: float | None
    reason: str
    infeasible: bool
    facts: "TrialFacts"


def disturb_at(place: str) -> None:
    """Let the N-th call of a function end this process, or meet a full disk."""
    module, path, when, count = place.split(":")
    owner = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, name)
    calls = 0

    def disturbed(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == int(count) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        with on_a_full_disk() if calls >= int(count) and when == "full" else nullcontext():
            result = original(*args, **kwargs)
        if calls == int(count) and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, disturbed)


@contextmanager
def on_a_full_disk() -> Iterator[None]:
    """Truncate a write of this thread half-way, as when the last free block is used up."""
    write, thread, fits = os.write, threading.get_ident(), True

    def half(fd: int, data: bytes) -> int:
        nonlocal fits
        if threading.get_ident() != thread:
            return write(fd, data)
        if not fits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fits = False
        return write(fd, data[: len(data) // 2])

    with patch.object(os, "write", half):
        yield


def note_arrivals(path: str) -> None:
    """Record each value as the study receives it, before it is safe anywhere."""
    from tuner.study import StudySession

    record_epoch, finish = StudySession.record_epoch, StudySession.finish

    def note(number: int, curve: Mapping[int, float]) -> None:
        with open(path, "a") as file:  # noqa: PTH123
            for epoch, value in curve.items():
                file.write(json.dumps([number, epoch, value]) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def noted_record_epoch(self: StudySession, number: int, epoch: int, value: float, facts: "TrialFacts") -> None:
        note(number, {epoch: value})
        record_epoch(self, number, epoch, value, facts)

    def noted_finish(
        self: StudySession,
        number: int,
        state: "TrialState",
        *,
        curve: Mapping[int, float] | None = None,
        **conclusion: Unpack[Conclusion],
    ) -> None:
        note(number, curve or {})
        finish(self, number, state, curve=curve, **conclusion)

    patch.object(StudySession, "record_epoch", noted_record_epoch).start()
    patch.object(StudySession, "finish", noted_finish).start()


if __name__ == "__main__":
    if os.environ.get("ARRIVALS"):
        note_arrivals(os.environ["ARRIVALS"])
    if sys.argv[1]:
        disturb_at(sys.argv[1])
    from tuner.cli.main import main

    main(sys.argv[2:])
