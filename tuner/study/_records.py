"""What is known of a study and of its trials, as plain records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState

from tuner.contract import ParamValue


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySpec:
    """What a study is about; fixed when it begins, but for where data set and model lie (see `_places`)."""

    space_name: str
    space: Mapping[str, Any]
    """`Space.canonical()`."""
    metric: str
    model: str
    """As the user named it."""
    model_source: str
    """As trials are given it."""
    portable_model: str
    """As a stock `yolo` command can be given it."""
    data: str
    """As the user named it."""
    data_source: str
    """As trials are given it."""
    data_sha256: str
    num_classes: int
    num_images: Mapping[str, int]
    num_parameters: int
    checkpoint_bytes: int
    """The most that one checkpoint of a trial takes on disk."""
    epochs: int
    rungs: tuple[int, ...]
    reduction_factor: int
    promote_epochs: int
    seed: int
    versions: Mapping[str, str]
    warm_start: tuple[Mapping[str, ParamValue], ...] = ()
    """Configurations, by label, that are tried right after the baseline."""
    model_sha256: str = ""
    """Of the model's content; empty from trainers that do not tell it."""
    sources: tuple[str, ...] = ()
    """Files that trials read; where one is missing, no trial is at fault."""


PAUSED_AT = "paused_at"
"""Attribute of a trial: the epoch after which it waits to be called back; 0 for one that does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """One trial as the study has it."""

    number: int
    state: TrialState
    value: float | None
    """Metric at the last epoch of a COMPLETE trial."""
    curve: Mapping[int, float]
    """Metric by validated epoch, 1-based."""
    sampled: Mapping[str, ParamValue]
    """What the sampler chose, by the names in the database."""
    params: Mapping[str, ParamValue]
    """Every hyper-parameter that the trainer was given."""
    reason: str
    """Why it ended, when it is PRUNED or FAIL."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that was noted: batch, seconds, device, checkpoint, directory, log, metrics."""
    began: datetime | None = None
    ended: datetime | None = None

    @property
    def is_baseline(self) -> bool:
        return self.number == 0

    @property
    def is_paused(self) -> bool:
        """Whether it waits to be called back, rather than to go on where it was cut off."""
        return self.state == TrialState.WAITING and bool(self.attributes.get(PAUSED_AT))


class KnownStudy(Protocol):
    """What reports, exports and the choice of a winner read, of a study that is driven or just looked at."""

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> StudySpec: ...

    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials by number."""

    @property
    def promotion(self) -> dict[str, Any]:
        """What is known of the promoted run; empty before there is one."""

    @property
    def reevaluation(self) -> dict[str, Any]:
        """What is known of the runs on other seeds; empty before there are any (see `tuner.comparison`)."""

    @property
    def rehearsal(self) -> dict[str, Any]:
        """What was found out before the search; empty where nothing was."""

    @property
    def searched_s(self) -> float:
        """Wall time of searching, over all drivers, as far as it was noted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A configuration to train now."""

    number: int
    params: dict[str, ParamValue]


def trial_record(trial: FrozenTrial) -> TrialRecord:
    """Optuna's trial as ours."""
    attributes = dict(trial.user_attrs)
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        value=trial.values[0] if trial.state == TrialState.COMPLETE else None,
        curve=dict(trial.intermediate_values),
        sampled=dict(trial.params),
        params=attributes.pop("params", {}),
        reason=attributes.pop("reason", ""),
        attributes=attributes,
        began=trial.datetime_start,
        ended=trial.datetime_complete,
    )


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The COMPLETE trial of the highest value; the earlier one of two equals."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    return max(complete, key=lambda t: (t.value, -t.number), default=None)
