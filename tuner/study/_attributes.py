"""Decode the user attributes in which a study records what is not of one trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.exceptions import StorageError
from tuner.study._facts import FinalRunFacts, ProfilingFacts
from tuner.study._places import found
from tuner.study._records import StudySpec

SPEC = "spec"
FINAL_RUN = "promotion"
REEVALUATION = "reevaluation"
SEARCHED = "searched_s"
PROFILING = "rehearsal"
COMMAND = "command"
ARTIFACTS = "artifacts"
_OWN = {SPEC, FINAL_RUN, REEVALUATION, SEARCHED, PROFILING, COMMAND, ARTIFACTS}


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyAttributes:
    """User attributes of a study."""

    name: str
    """Name of the study."""
    stored: Mapping[str, Any]
    folder: Path
    """Current folder of the study; relative paths in the record start there."""

    @property
    def is_ours(self) -> bool:
        """True if tune created the study; another program's has no spec, and its attributes mean nothing to us."""
        return SPEC in self.stored

    @property
    def spec(self) -> StudySpec:
        """Spec of the study.

        Raises:
            StorageError: The study has no spec.
        """
        stored = self.stored.get(SPEC)
        if stored is None:
            raise StorageError(foreign(self.name))
        sequences = {name: tuple(stored.get(name, ())) for name in ("rungs", "warm_start", "sources")}
        return StudySpec(**found({**stored, **sequences}, self.folder))

    @property
    def final_run(self) -> FinalRunFacts | None:
        """Facts about the final run; None before there is one."""
        stored = self.stored.get(FINAL_RUN)
        return FinalRunFacts.decode(found(stored, self.folder)) if stored else None

    @property
    def reevaluation(self) -> dict[str, Any]:
        """Facts about the re-evaluation runs; empty before there are any (see `tuner.comparison`)."""
        return dict(self.stored.get(REEVALUATION, {}))

    @property
    def profiling(self) -> ProfilingFacts:
        """Results of profiling before the search."""
        return ProfilingFacts.decode(self.stored.get(PROFILING, {}))

    @property
    def command(self) -> tuple[str, ...]:
        """Arguments of the last `tune run`; empty if they are not recorded."""
        return tuple(self.stored.get(COMMAND, ()))

    @property
    def artifacts(self) -> dict[str, Any]:
        """Facts about the store that keeps the artifacts; empty for the study's folder."""
        return dict(self.stored.get(ARTIFACTS, {}))

    @property
    def searched_s(self) -> float:
        """Recorded wall time of the search over all drivers, in seconds."""
        return float(self.stored.get(SEARCHED, 0.0))

    @property
    def other(self) -> dict[str, Any]:
        """Attributes that tune did not write."""
        return {name: value for name, value in self.stored.items() if name not in _OWN}


def foreign(name: str) -> str:
    """Return the message for a study that tune did not create."""
    return (
        f"The study '{name}' was not created by tune: it has no record of its space. Choose another name with --study."
    )
