"""A training run as its records tell it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tuner.contract import Outcome, ParamValue
from tuner.diagnosis.columns import YOLO, Columns
from tuner.space import ADAM_FAMILY

ArgumentValue = ParamValue | tuple[ParamValue, ...]
"""What a training argument may be; ultralytics takes lists too, as of layers to freeze."""

_ADAM_FAMILY = frozenset(name.lower() for name in ADAM_FAMILY)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEpoch:
    """The values of one epoch; any of them may be NaN or infinite where a run has diverged."""

    epoch: int
    """1-based."""
    train: Mapping[str, float]
    """Mean training losses by name (box, cls, dfl)."""
    val: Mapping[str, float] | None = None
    """The same on the validation split; none where the epoch was not validated or nobody kept them."""
    metrics: Mapping[str, float] | None = None
    """0..1, by the contract's METRICS for a detector and by the names of its task for any other model; none where the
    epoch was not validated."""
    seconds: float | None = None
    memory_gib: float | None = None
    learning_rate: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What is known of a run."""

    source: str
    """Where its records lie, as it was named."""
    epochs: tuple[RunEpoch, ...]
    """Without gaps that matter, in their order; empty for a run that ended in its first epoch."""
    columns: Columns = YOLO
    """What kind of model it trains, and what its losses are."""
    unknown: tuple[str, ...] = ()
    """What its records do not tell of what is judged, one line each."""
    planned_epochs: int | None = None
    params: Mapping[str, ArgumentValue] = field(default_factory=dict)
    """Training arguments by the names of ultralytics; empty where nobody kept them."""
    from_scratch: bool | None = None
    outcome: Outcome | None = None
    """How it ended, if its end record or its log says so."""
    message: str = ""
    """What these say about that."""
    best_weights: str = ""
    """Absolute path of the best checkpoint, if it is still there."""
    notes: tuple[str, ...] = ()
    """What the reader should know about the records, one line each."""

    @property
    def last_epoch(self) -> int:
        """The last whole epoch, 0 for none."""
        return self.epochs[-1].epoch if self.epochs else 0

    @property
    def progress(self) -> float:
        """The share of the planned epochs that is trained, 0..1; 1 where the plan is not known."""
        return min(self.last_epoch / self.planned_epochs, 1.0) if self.planned_epochs else 1.0

    @property
    def warm_up_epochs(self) -> int:
        """Epochs that the learning rate takes to rise: nobody is judged by them."""
        return math.ceil(max(0.0, min(self.number("warmup_epochs", 3.0), 1e6)))

    @property
    def optimizer(self) -> str:
        """As it was named; "auto", ultralytics' default, chooses one and lr0 by itself."""
        return str(self.params.get("optimizer", "auto"))

    @property
    def is_adam_like(self) -> bool:
        """Whether the optimizer is of Adam's kind, for which a good lr0 is about ten times smaller [guide 21]."""
        return self.optimizer.lower() in _ADAM_FAMILY

    def number(self, name: str, default: float) -> float:
        """A parameter, or the default where it is not known or no number."""
        value = self.params.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return default
        return float(value)
