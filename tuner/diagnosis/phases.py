"""What the training guide calls normal from scratch, phase by phase [guide 14]."""

from dataclasses import dataclass

from tuner.diagnosis.columns import Task
from tuner.diagnosis.curves import box_loss, last, metric, since
from tuner.diagnosis.runs import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A stretch of a training from scratch."""

    share: tuple[float, float]
    """From where to where, as shares of the planned epochs."""
    loss: tuple[float, float]
    """Of the boxes: the guide does not say which, and only this one has such values from start to end."""
    map50: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where a run is, and what it shows there."""

    number: int
    """1-based, of `PHASES`."""
    phase: Phase
    epochs: tuple[int, int]
    """The phase in epochs of this run."""
    loss: float
    """NaN where it is not known; so is `map50`."""
    map50: float

    @property
    def is_behind(self) -> bool:
        """Whether mAP50 is lower than the phase has it; the loss depends on too much else."""
        return self.map50 < self.phase.map50[0]


PHASES = (
    Phase(share=(0, 1 / 6), loss=(2.0, 5.0), map50=(0.0, 0.1)),
    Phase(share=(1 / 6, 1 / 2), loss=(1.0, 2.0), map50=(0.2, 0.4)),
    Phase(share=(1 / 2, 1), loss=(0.0, 1.0), map50=(0.5, 0.7)),
)
"""The guide's epochs 1-50, 50-150 and 150-300, of 300. The mAP of its last one is that of its targets for mAP50."""


def standing(run: Run) -> Standing | None:
    """The phase that the last epoch is in; none for fine-tuning, another task, without a plan or without an epoch."""
    if run.columns.task is not Task.DETECT or run.from_scratch is False or not run.planned_epochs or not run.epochs:
        return None
    number = next(i for i, phase in enumerate(PHASES, 1) if run.progress <= phase.share[1])
    phase = PHASES[number - 1]
    begin, end = (round(share * run.planned_epochs) for share in phase.share)
    return Standing(
        number=number,
        phase=phase,
        epochs=(begin + 1, max(end, begin + 1)),
        loss=last(since(box_loss(run), begin + 1)),
        map50=last(since(metric(run, "mAP50"), begin + 1)),
    )
