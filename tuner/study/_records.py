"""Describe a study and its trials as plain records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState

from tuner.contract import ParamValue
from tuner.study._facts import NO_FACTS, FinalRunFacts, ProfilingFacts, TrialFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySpec:
    """Specification of a study; only the paths and names of data set and model can change later (see `_places`)."""

    space_name: str
    space: Mapping[str, Any]
    """Search space as returned by `Space.canonical()`."""
    metric: str
    model: str
    """Model as the user named it."""
    model_source: str
    """Model as it is passed to trials."""
    portable_model: str
    """Model as it can be passed to a stock `yolo` command."""
    data: str
    """Data set as the user named it."""
    data_source: str
    """Data set as it is passed to trials."""
    data_sha256: str
    num_classes: int
    num_images: Mapping[str, int]
    num_parameters: int
    checkpoint_bytes: int
    """Maximum size of one trial checkpoint on disk, in bytes."""
    epochs: int
    rungs: tuple[int, ...]
    reduction_factor: int
    promote_epochs: int
    seed: int
    versions: Mapping[str, str]
    warm_start: tuple[Mapping[str, ParamValue], ...] = ()
    """Configurations, by label, to try right after the baseline."""
    start_points: Mapping[str, Mapping[str, ParamValue]] = field(default_factory=dict)
    """Configurations, by label, to try after those; their keys tell where they come from."""
    model_sha256: str = ""
    """SHA-256 of the model's content; empty if the trainer does not report it."""
    sources: tuple[str, ...] = ()
    """Files that trials read; if one is missing, failures do not count against the trial."""
    promote_deterministic: bool | None = None
    """Value of `deterministic` in the final run; None for that of the trials."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """Trial as the study records it."""

    number: int
    state: TrialState
    value: float | None
    """Metric at the last epoch of a COMPLETE trial."""
    curve: Mapping[int, float]
    """Metric by validated epoch, 1-based."""
    sampled: Mapping[str, ParamValue]
    """Values that the sampler chose, by their names in the database."""
    params: Mapping[str, ParamValue]
    """All hyper-parameters passed to the trainer."""
    reason: str
    """Reason for the end of a PRUNED or FAIL trial."""
    facts: TrialFacts = NO_FACTS
    began: datetime | None = None
    ended: datetime | None = None

    @property
    def is_baseline(self) -> bool:
        return self.number == 0

    @property
    def is_paused(self) -> bool:
        """True if the trial waits until the strategy resumes it; False if it waits after an interruption."""
        return self.state == TrialState.WAITING and bool(self.facts.paused_at)


class ReadableStudy(Protocol):
    """Read access to a study, driven or stored, for reports, exports and the choice of a winner."""

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> StudySpec: ...

    def trials(self) -> tuple[TrialRecord, ...]:
        """Return all trials, ordered by number."""

    @property
    def final_run(self) -> FinalRunFacts | None:
        """Facts about the final run; None before there is one."""

    @property
    def reevaluation(self) -> dict[str, Any]:
        """Facts about the re-evaluation runs; empty before there are any (see `tuner.comparison`)."""

    @property
    def profiling(self) -> ProfilingFacts:
        """Results of profiling before the search."""

    @property
    def command(self) -> tuple[str, ...]:
        """Arguments of the last `tune run`, without secrets; empty if they are not recorded."""

    @property
    def searched_s(self) -> float:
        """Recorded wall time of the search over all drivers, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """Configuration to train now."""

    number: int
    params: dict[str, ParamValue]


def trial_record(trial: FrozenTrial, attributes: Mapping[str, Any]) -> TrialRecord:
    """Convert Optuna's trial to our record.

    Args:
        trial: Trial of Optuna.
        attributes: Its user attributes, with absolute paths.
    """
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        value=trial.values[0] if trial.state == TrialState.COMPLETE else None,
        curve=dict(trial.intermediate_values),
        sampled=dict(trial.params),
        params=attributes.get("params", {}),
        reason=attributes.get("reason", ""),
        facts=TrialFacts.decode(attributes),
        began=trial.datetime_start,
        ended=trial.datetime_complete,
    )


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the COMPLETE trial with the highest value, the earlier one on a tie; None if no trial is complete."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    return max(complete, key=lambda t: (t.value, -t.number), default=None)
