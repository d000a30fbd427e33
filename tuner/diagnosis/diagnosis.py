"""Run -> what is wrong with it, how good it is, what is not known about it, and how long it still takes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tuner.contract import ParamValue
from tuner.diagnosis.columns import Task, scores
from tuner.diagnosis.curves import CURVE_EPOCHS, epoch_seconds, judged_from, level, score, train_loss, val_loss
from tuner.diagnosis.divergence import diverged
from tuner.diagnosis.findings import Condition, Finding
from tuner.diagnosis.grade import Grade, grade
from tuner.diagnosis.learning import LEARNING
from tuner.diagnosis.phases import Standing, standing
from tuner.diagnosis.resources import RESOURCES
from tuner.diagnosis.runs import Run
from tuner.diagnosis.validation import validation_notes, validation_overflow

_RECENT_EPOCHS = 20
_TELL_NUMBERS = {Condition.DIVERGED, Condition.VALIDATION_OVERFLOW, Condition.NO_VALIDATION_LABELS}
"""These tell already what is NaN or infinite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What is known of a run after looking at it."""

    run: Run
    condition: Condition
    """The first of the findings', NORMAL, NOT_JUDGED or TOO_EARLY."""
    findings: tuple[Finding, ...]
    """At most one about learning: the one that explains the others. Mend it, train again, look again."""
    learning: Condition
    """The same without what concerns validation, time and memory only."""
    unknown: tuple[str, ...]
    """What is not known of the run, so that nobody can call it normal, one line each."""
    grade: Grade | None
    standing: Standing | None
    seconds_left: float | None
    """To the planned end, at the pace of the last epochs; none where nothing is left or the pace is not known."""
    notes: tuple[str, ...]
    """What the reader should know about the records, one line each."""

    @property
    def changes(self) -> Mapping[str, ParamValue]:
        """All that the findings change; where two change the same, the first one's."""
        return {name: value for finding in reversed(self.findings) for name, value in finding.changes.items()}


def diagnose(run: Run) -> Diagnosis:
    """Look at a run by all rules that hold for its task."""
    rules = LEARNING if run.columns.task is Task.DETECT else (diverged,)
    learning = next((found for rule in rules if (found := rule(run))), None)
    validation = None if learning and learning.condition is Condition.DIVERGED else validation_overflow(run)
    beside = [found for found in (validation, *(rule(run) for rule in RESOURCES)) if found]
    told = (*([learning] if learning else []), *beside)
    findings = told if run.columns.takes_our_arguments else tuple(replace(one, changes={}) for one in told)
    unknown = (*run.unknown, *_not_measured(run, validation))
    otherwise = _without_finding(run, unknown)
    return Diagnosis(
        run=run,
        condition=findings[0].condition if findings else otherwise,
        learning=learning.condition if learning else otherwise,
        findings=findings,
        unknown=unknown,
        grade=grade(run),
        standing=standing(run),
        seconds_left=_seconds_left(run),
        notes=(*run.notes, *_notes(run, told)),
    )


def _without_finding(run: Run, unknown: tuple[str, ...]) -> Condition:
    """What a run is in which nothing was found: only one of which all is known can be normal."""
    if run.unknown or run.columns.task is not Task.DETECT:
        return Condition.NOT_JUDGED
    # Before, nobody can say that a curve is as it should be; what is plainly wrong is told all the same.
    if run.last_epoch < judged_from(run) or len(train_loss(run)) < CURVE_EPOCHS:
        return Condition.TOO_EARLY
    return Condition.NOT_JUDGED if unknown else Condition.NORMAL


def _not_measured(run: Run, validation: Finding | None) -> Iterator[str]:
    """What there would be columns for, but no values."""
    if run.epochs and not score(run) and not run.unknown:
        yield f"{scores(run.columns.task)[1]}: no epoch has one that is a number"
    if validation is not None and len(val_loss(run)) < CURVE_EPOCHS:
        yield "the validation loss: NaN or infinite, so that overfitting shows in mAP only"


def _notes(run: Run, findings: tuple[Finding, ...]) -> Iterator[str]:
    if not _TELL_NUMBERS & {finding.condition for finding in findings}:
        yield from validation_notes(run)
    if not run.columns.takes_our_arguments and any(finding.changes for finding in findings):
        yield "this trainer has arguments of its own, so no change of an argument is named"


def _seconds_left(run: Run) -> float | None:
    times = epoch_seconds(run)[-_RECENT_EPOCHS:]
    left = (run.planned_epochs or 0) - run.last_epoch
    return left * level(times) if times and left > 0 else None
