"""Compare a run from scratch with the normal values of the training guide, phase by phase [guide 14]."""

from dataclasses import dataclass

from tuner.diagnosis.columns import Task
from tuner.diagnosis.curves import box_loss, last, metric, since
from tuner.diagnosis.runs import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A phase of a training from scratch."""

    share: tuple[float, float]
    """Start and end, as shares of the planned epochs."""
    loss: tuple[float, float]
    """Range of the box loss: the guide does not name the loss, and only this one has these values throughout."""
    map50: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """The phase of a run, and its values in that phase."""

    number: int
    """Index in `PHASES`, 1-based."""
    phase: Phase
    epochs: tuple[int, int]
    """First and last epoch of the phase in this run."""
    loss: float
    """Box loss; NaN if unknown, as is `map50`."""
    map50: float

    @property
    def is_behind(self) -> bool:
        """True if mAP50 is below the range of the phase; the loss depends on too much else."""
        return self.map50 < self.phase.map50[0]


PHASES = (
    Phase(share=(0, 1 / 6), loss=(2.0, 5.0), map50=(0.0, 0.1)),
    Phase(share=(1 / 6, 1 / 2), loss=(1.0, 2.0), map50=(0.2, 0.4)),
    Phase(share=(1 / 2, 1), loss=(0.0, 1.0), map50=(0.5, 0.7)),
)
"""The guide's epochs 1-50, 50-150 and 150-300 of 300. The mAP of the last phase is the guide's target for mAP50."""


def standing(run: Run) -> Standing | None:
    """Return the phase of the last epoch; None for fine-tuning, other tasks, and runs without a plan or an epoch."""
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
