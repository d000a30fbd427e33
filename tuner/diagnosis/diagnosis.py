"""Run -> what is wrong with it, how good it is, and how long it still takes."""

from collections.abc import Mapping
from dataclasses import dataclass

from tuner.contract import ParamValue
from tuner.diagnosis.curves import epoch_seconds, judged_from, level
from tuner.diagnosis.findings import Condition, Finding
from tuner.diagnosis.grade import Grade, grade
from tuner.diagnosis.learning import LEARNING
from tuner.diagnosis.phases import Standing, standing
from tuner.diagnosis.resources import RESOURCES
from tuner.diagnosis.runs import Run

RULES = (*LEARNING, *RESOURCES)
_RECENT_EPOCHS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What is known of a run after looking at it."""

    run: Run
    condition: Condition
    """The first of the findings', NORMAL or TOO_EARLY."""
    findings: tuple[Finding, ...]
    """At most one about learning: the one that explains the others. Mend it, train again, look again."""
    learning: Condition
    """The same without what concerns time and memory only."""
    grade: Grade | None
    standing: Standing | None
    seconds_left: float | None
    """To the planned end, at the pace of the last epochs; none where nothing is left or the pace is not known."""

    @property
    def changes(self) -> Mapping[str, ParamValue]:
        """All that the findings change; where two change the same, the first one's."""
        return {name: value for finding in reversed(self.findings) for name, value in finding.changes.items()}


def diagnose(run: Run) -> Diagnosis:
    """Look at a run by all rules."""
    learning = next((found for rule in LEARNING if (found := rule(run))), None)
    resources = [found for rule in RESOURCES if (found := rule(run))]
    findings = (*([learning] if learning else []), *resources)
    # Before, nobody can say that a curve is as it should be; what is plainly wrong is told all the same.
    otherwise = Condition.TOO_EARLY if run.last_epoch < judged_from(run) else Condition.NORMAL
    learns = learning.condition if learning else otherwise
    return Diagnosis(
        run=run,
        condition=findings[0].condition if findings else otherwise,
        learning=learns,
        findings=findings,
        grade=grade(run),
        standing=standing(run),
        seconds_left=_seconds_left(run),
    )


def _seconds_left(run: Run) -> float | None:
    times = epoch_seconds(run)[-_RECENT_EPOCHS:]
    left = (run.planned_epochs or 0) - run.last_epoch
    return left * level(times) if times and left > 0 else None
