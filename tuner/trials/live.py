"""Track a running trial."""

import math
from dataclasses import dataclass, field

from tuner.contract import TRAIN_STEP, EpochRecord, ProgressRecord
from tuner.study import TrialFacts, gpu_seconds
from tuner.trials.attempts import Attempts

DIVERGED = "diverged"
"""First word of the reason of a trial that diverged."""


@dataclass(kw_only=True, slots=True)
class LiveTrial:
    """Running trial."""

    number: int
    attempts: Attempts = field(default_factory=Attempts)
    starts: int = 0
    """Number of times that a trainer has started or resumed it."""
    device: str = ""
    epoch: int = 0
    value: float | None = None
    """Metric at the last validated epoch; None before the first, NaN if the trainer does not know the metric."""
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    """`seconds`, each counted by the share of the GPU that the trial had."""
    gpu_share: float = 1.0
    """Share of a GPU that the trial has now, 0..1."""
    earlier_epochs: int = 0
    """Last epoch that an earlier driver recorded; the trainer sends these epochs again."""
    earlier_gpu_share: float = 1.0
    """Share of a GPU in those epochs, on average."""
    memory_gib: float = 0.0
    losses: dict[int, float] = field(default_factory=dict)
    """Training loss of the first and of each validated epoch, by epoch."""
    latest: EpochRecord | None = None
    within: float | None = None
    """Finished share of the running epoch, 0..1; None if the trainer does not report it."""
    slot: int | None = None
    """Number of the slot that trains it, 0-based; None before the driver has placed it."""

    @property
    def label(self) -> str:
        """Name of the trial in tables and messages."""
        return str(self.number)

    def note_epoch(self, record: EpochRecord, metric: str) -> bool:
        """Note the record of an epoch. Return True if the epoch is new, False if an earlier attempt had trained it."""
        if record.epoch > self.epoch:
            self.epoch = record.epoch
            self.seconds += record.seconds
            is_earlier = record.epoch <= self.earlier_epochs
            self.gpu_seconds += gpu_seconds(record.seconds, self.earlier_gpu_share if is_earlier else self.gpu_share)
        self.latest = record
        self.within = None
        self.memory_gib = max(self.memory_gib, record.memory_gib)
        if record.epoch == 1 or record.metrics is not None:
            self.losses[record.epoch] = total_loss(record)
        value = metric_of(record, metric)
        self.value = self.value if value is None else value
        return self.attempts.note_epoch(record.epoch)


def share_of(record: ProgressRecord) -> float | None:
    """Return the finished share of the running epoch, 0..1; None for progress of anything else."""
    if record.step != TRAIN_STEP or record.total <= 0:
        return None
    return min(max(record.done / record.total, 0.0), 1.0)


def metric_of(record: EpochRecord, metric: str) -> float | None:
    """Return a metric of an epoch; None if it was not validated, NaN if the trainer does not know the metric."""
    return None if record.metrics is None else record.metrics.get(metric, math.nan)


def total_loss(record: EpochRecord) -> float:
    """Return the sum of the training losses of an epoch."""
    return math.fsum(record.losses.values())


def mean_gpu_share(trial: LiveTrial) -> float | None:
    """Return the share of a GPU that a trial had on average; None for a whole GPU."""
    share = trial.gpu_seconds / trial.seconds if trial.seconds > 0 else trial.gpu_share
    return round(share, 6) if share < 1 else None


def trained(trial: LiveTrial) -> TrialFacts:
    """Return the progress of a trial and the facts from its last epoch, for its record."""
    latest = trial.latest
    return TrialFacts(
        epochs=trial.epoch,
        seconds=round(trial.seconds, 3),
        gpu_share=mean_gpu_share(trial),
        memory_gib=round(trial.memory_gib, 3),
        batch=None if latest is None else latest.batch,
        checkpoint=None if latest is None else latest.checkpoint,
        scan=None if latest is None or not latest.scan else latest.scan,
        metrics=None if latest is None or latest.metrics is None else dict(latest.metrics),
        losses=dict(trial.losses),
    )
