"""Define what is submitted to the queue, and what becomes of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from tuner.exceptions import UsageError

MOST_SPACE_BYTES = 64 << 10
"""Maximum size of a submitted space file; the shipped ones have at most a tenth of it."""

PRIORITIES = range(-100, 101)


class State(StrEnum):
    """State of a submitted study."""

    QUEUED = "queued"
    """It waits for devices, or for its driver to be started again."""
    RUNNING = "running"
    """Its driver runs. It can hold no devices while studies of a higher priority take them all."""
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_over(self) -> bool:
        """True if nothing happens any more."""
        return self in (State.DONE, State.FAILED, State.STOPPED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A study that a user wants to have searched."""

    study: str
    owner: str
    space_name: str
    space: str
    """Text of the space file."""
    arguments: tuple[str, ...] = ()
    """Other arguments of `tune run`."""
    priority: int = 0
    most: int | None = None
    """Maximum number of GPUs that the study may hold, or CPUs if the cluster has no GPUs; None for all."""

    def __post_init__(self) -> None:
        if self.priority not in PRIORITIES:
            raise UsageError(
                f"--priority must be a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}, but got {self.priority}; "
                "0 is the default."
            )
        if self.most is not None and self.most < 1:
            raise UsageError(f"--gpus must be at least 1 in a queue, but got {self.most}; leave it out for all GPUs.")
        size = len(self.space.encode())
        if size > MOST_SPACE_BYTES:
            raise UsageError(f"A submitted space must have at most {MOST_SPACE_BYTES} bytes, but it has {size}.")

    def encoded(self) -> str:
        """Return the submission as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def decoded(cls, text: str) -> "Submission":
        """Read what `encoded` returned."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "arguments": tuple(fields["arguments"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A submission in the queue."""

    number: int
    submission: Submission
    state: State = State.QUEUED
    is_stopping: bool = False
    """True from the user's wish to stop it until it has stopped."""
    granted: int = 0
    """Devices that it may hold now."""
    wanted: int | None = None
    """Devices that it could use now; None for as many as there are."""
    job: str = ""
    """Ray job of its last driver; empty before the first."""
    starts: int = 0
    failures: int = 0
    """Drivers in a row that ended soon after their start for a reason that may pass."""
    not_before: float = 0.0
    """Time before which no driver starts, in seconds since 1970."""
    code: int | None = None
    """Exit code of its last driver."""
    message: str = ""
    """Last line of its last driver."""
    submitted: float = 0.0
    """Times in seconds since 1970; 0 if it has not come to that."""
    started: float = 0.0
    ended: float = 0.0

    @property
    def most(self) -> int | None:
        """Maximum number of devices that it can use now; None for all."""
        limits = [limit for limit in (self.submission.most, self.wanted) if limit is not None]
        return min(limits, default=None)

    def described(self) -> dict[str, Any]:
        """Return what clients may see, for JSON: everything but arguments, which may contain secrets."""
        mine = self.submission
        return {
            "number": self.number,
            "study": mine.study,
            "owner": mine.owner,
            "space": mine.space_name,
            "priority": mine.priority,
            "most": mine.most,
            "state": "stopping" if self.is_stopping and not self.state.is_over else self.state.value,
            "granted": 0 if self.state.is_over else self.granted,
            "job": self.job,
            "starts": self.starts,
            "code": self.code,
            "message": self.message,
            "submitted": self.submitted,
            "started": self.started,
            "ended": self.ended,
        }


def entry_of(row: Mapping[Any, Any]) -> Entry:
    """Build an entry from a row of the table."""
    fields: dict[str, Any] = {name: value for name, value in row.items() if name not in ("study", "active")}
    return Entry(
        **{
            **fields,
            "submission": Submission.decoded(fields["submission"]),
            "state": State(fields["state"]),
            "is_stopping": bool(fields["is_stopping"]),
        }
    )
