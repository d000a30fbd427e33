"""A training run, as read from its records."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tuner.contract import Outcome, ParamValue
from tuner.diagnosis.columns import YOLO, Columns
from tuner.space import ADAM_FAMILY

ArgumentValue = ParamValue | tuple[ParamValue, ...]
"""Value of a training argument; ultralytics also takes lists, for example of layers to freeze."""

_ADAM_FAMILY = frozenset(name.lower() for name in ADAM_FAMILY)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEpoch:
    """The values of one epoch; any of them may be NaN or infinite if the run has diverged."""

    epoch: int
    """Epoch number, 1-based."""
    train: Mapping[str, float]
    """Mean training losses by name (box, cls, dfl)."""
    val: Mapping[str, float] | None = None
    """Losses on the validation split; None if the epoch was not validated or they were not recorded."""
    metrics: Mapping[str, float] | None = None
    """Metrics, 0..1: METRICS of the contract for a detector, names of the task for other models; None if the epoch was
    not validated."""
    seconds: float | None = None
    memory_gib: float | None = None
    learning_rate: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The records of a run."""

    source: str
    """Path of the records, as the user gave it."""
    epochs: tuple[RunEpoch, ...]
    """Epochs in order, without gaps that matter; empty for a run that ended in its first epoch."""
    columns: Columns = YOLO
    """Kind of model and names of its losses."""
    unknown: tuple[str, ...] = ()
    """Information that the diagnosis needs and the records lack, one line each."""
    planned_epochs: int | None = None
    params: Mapping[str, ArgumentValue] = field(default_factory=dict)
    """Training arguments by their ultralytics names; empty if they were not recorded."""
    from_scratch: bool | None = None
    outcome: Outcome | None = None
    """Outcome of the run, if its end record or its log shows it."""
    message: str = ""
    """Explanation of the outcome."""
    best_weights: str = ""
    """Absolute path of the best checkpoint; empty if it does not exist any more."""
    notes: tuple[str, ...] = ()
    """Remarks about the records for the user, one line each."""

    @property
    def last_epoch(self) -> int:
        """Last complete epoch; 0 if there is none."""
        return self.epochs[-1].epoch if self.epochs else 0

    @property
    def progress(self) -> float:
        """Completed share of the planned epochs, 0..1; 1 if the plan is unknown."""
        return min(self.last_epoch / self.planned_epochs, 1.0) if self.planned_epochs else 1.0

    @property
    def warm_up_epochs(self) -> int:
        """Epochs of the learning rate warm-up, which the rules ignore."""
        return math.ceil(max(0.0, min(self.number("warmup_epochs", 3.0), 1e6)))

    @property
    def optimizer(self) -> str:
        """Optimizer as given; "auto", the default of ultralytics, chooses an optimizer and lr0."""
        return str(self.params.get("optimizer", "auto"))

    @property
    def is_adam_like(self) -> bool:
        """True for the Adam family, for which a good lr0 is about ten times smaller [guide 21]."""
        return self.optimizer.lower() in _ADAM_FAMILY

    def number(self, name: str, default: float) -> float:
        """Return a parameter, or the default if it is unknown or not a finite number."""
        value = self.params.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return default
        return float(value)
