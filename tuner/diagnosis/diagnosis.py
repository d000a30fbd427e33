"""Diagnose a run: problems, grade, missing information and remaining time."""

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
"""Conditions whose evidence already names the values that are NaN or infinite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """The result of the diagnosis of a run."""

    run: Run
    condition: Condition
    """Condition of the first finding, or NORMAL, NOT_JUDGED or TOO_EARLY without findings."""
    findings: tuple[Finding, ...]
    """At most one finding about learning: the one that explains the others. Fix it, retrain, diagnose again."""
    learning: Condition
    """Condition of the learning alone, without findings about validation, time and memory."""
    unknown: tuple[str, ...]
    """Missing information that prevents the verdict NORMAL, one line each."""
    grade: Grade | None
    standing: Standing | None
    seconds_left: float | None
    """Time to the planned end at the pace of the last epochs; None if no epoch is left or the pace is unknown."""
    notes: tuple[str, ...]
    """Remarks about the records for the user, one line each."""

    @property
    def changes(self) -> Mapping[str, ParamValue]:
        """Changes of all findings; the first finding wins if two change the same argument."""
        return {name: value for finding in reversed(self.findings) for name, value in finding.changes.items()}


def diagnose(run: Run) -> Diagnosis:
    """Apply all rules for the task of a run."""
    rules = LEARNING if run.columns.task is Task.DETECT else (diverged,)
    learning = next((found for rule in rules if (found := rule(run))), None)
    validation = None if learning and learning.condition is Condition.DIVERGED else validation_overflow(run)
    others = [found for found in (validation, *(rule(run) for rule in RESOURCES)) if found]
    told = (*([learning] if learning else []), *others)
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
    """Return the condition of a run without findings: NORMAL only if no information is missing."""
    if run.unknown or run.columns.task is not Task.DETECT:
        return Condition.NOT_JUDGED
    # A curve this short cannot be called normal yet, but clear problems are already reported.
    if run.last_epoch < judged_from(run) or len(train_loss(run)) < CURVE_EPOCHS:
        return Condition.TOO_EARLY
    return Condition.NOT_JUDGED if unknown else Condition.NORMAL


def _not_measured(run: Run, validation: Finding | None) -> Iterator[str]:
    """Yield a line for each column that exists but holds no usable values."""
    if run.epochs and not score(run) and not run.unknown:
        yield f"{scores(run.columns.task)[1]}: no epoch has a finite value"
    if validation is not None and len(val_loss(run)) < CURVE_EPOCHS:
        yield "the validation loss: it is NaN or infinite, so only mAP can show overfitting"


def _notes(run: Run, findings: tuple[Finding, ...]) -> Iterator[str]:
    if not _TELL_NUMBERS & {finding.condition for finding in findings}:
        yield from validation_notes(run)
    if not run.columns.takes_our_arguments and any(finding.changes for finding in findings):
        yield "this trainer has its own arguments, so no argument changes are suggested"


def _seconds_left(run: Run) -> float | None:
    times = epoch_seconds(run)[-_RECENT_EPOCHS:]
    left = (run.planned_epochs or 0) - run.last_epoch
    return left * level(times) if times and left > 0 else None
