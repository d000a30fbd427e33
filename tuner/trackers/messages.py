"""Define the records that cross from a driver to the process of a tracker, and their form on the pipe."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

from tuner.contract import ParamValue

ENDED = frozenset({"COMPLETE", "PRUNED", "FAIL"})
"""States of runs that never change again."""


CLOSE_S = 10.0
"""Time that trackers have at the end of a run, in seconds."""


class Kind(StrEnum):
    """Kind of a logged run."""

    STUDY = "study"
    """The study itself: settings, verdict, files."""
    TRIAL = "trial"
    REEVALUATION = "re-evaluation"
    FINAL_RUN = "final run"


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """The study whose runs are logged."""

    name: str
    """Name of the study."""
    study_id: str
    """Random name that no other study has, because names are used again."""
    folder: str
    """Absolute path of the study's folder."""
    tensorboard: str
    """Absolute path of the folder of TensorBoard's event files."""
    wandb_epochs: str
    """Absolute path of the file with the last epoch that W&B has got of each run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedRun:
    """Run as trackers show it: a trial, a re-evaluation, the final run, or the study itself."""

    key: str
    """Name of the run that is unique in the study and made of letters, digits and "-"."""
    kind: Kind
    name: str
    """Name for people."""
    state: str
    """Name of a `TrialState`."""
    reason: str = ""
    """Reason for the state; "" if there is none."""
    params: Mapping[str, ParamValue] = field(default_factory=dict)
    points: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """Values of the curves by epoch and name; a value may be NaN or infinite."""
    last_epoch: int = 0
    """Last epoch of the curves, even if `points` lacks it because it was logged before; 0 without curves."""
    summary: Mapping[str, float] = field(default_factory=dict)
    """Finite values that belong to no epoch."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Facts in words."""
    files: tuple[str, ...] = ()
    """Absolute paths of files to keep with the run."""

    @property
    def has_ended(self) -> bool:
        """True if the run never changes again."""
        return self.state in ENDED

    def encode(self) -> str:
        """Encode the run as one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def decode(cls, line: str) -> "LoggedRun":
        """Decode a run that `encode` has encoded."""
        body = json.loads(line)
        points = {int(epoch): values for epoch, values in body.pop("points").items()}
        return cls(**{**body, "kind": Kind(body["kind"]), "points": points, "files": tuple(body["files"])})


def news(before: LoggedRun | None, now: LoggedRun) -> LoggedRun | None:
    """Return a run with only those values of its curves that are not in its earlier form; None if nothing is new.

    Values of a curve never change, so only their epochs and names are compared.
    """
    if before is None:
        return now
    known = before.points
    points = {
        epoch: fresh
        for epoch, values in now.points.items()
        if (fresh := {name: value for name, value in values.items() if name not in known.get(epoch, ())})
    }
    if not points and replace(before, points={}) == replace(now, points={}):
        return None
    return replace(now, points=points)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Answer of a tracker's process to one run, or to the end of all."""

    problem: str = ""
    """Reason why not everything was logged, on one line without secrets; "" if it was."""

    def encode(self) -> str:
        """Encode the answer as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, line: str) -> "Answer":
        """Decode an answer.

        Raises:
            ValueError: The line is not an answer.
        """
        body = json.loads(line)
        if not isinstance(body, dict) or not isinstance(body.get("problem"), str):
            raise ValueError(f"not an answer: {line[:200]!r}")
        return cls(problem=body["problem"])
