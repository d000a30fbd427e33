"""Present a diagnosis as plain data, and as lines for a terminal."""

from collections.abc import Iterator
from datetime import timedelta
from math import isfinite
from typing import Any

from tuner.diagnosis.columns import YOLO, Task, scores
from tuner.diagnosis.curves import Curve, first, judged_from, last, metric, score, train_loss
from tuner.diagnosis.diagnosis import Diagnosis
from tuner.diagnosis.findings import Condition, Finding
from tuner.diagnosis.grade import GOOD_RUN, TARGET_EPOCHS, TARGETS, Grade
from tuner.diagnosis.next_run import changed
from tuner.diagnosis.phases import PHASES, Standing
from tuner.diagnosis.runs import Run

DIAGNOSIS_VERSION = 1
"""Version of the data that `diagnosis_facts` returns; a change of meaning raises it."""


def diagnosis_facts(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis as JSON values: metrics 0..1, and null for values that are unknown or not finite."""
    run = diagnosis.run
    return {
        "version": DIAGNOSIS_VERSION,
        "run": run.source,
        "epochs": run.last_epoch,
        "planned_epochs": run.planned_epochs,
        "from_scratch": run.from_scratch,
        "task": run.columns.task,
        "trainer": run.columns.name,
        "outcome": run.outcome,
        "condition": diagnosis.condition,
        "learning": diagnosis.learning,
        "findings": [_finding(found) for found in diagnosis.findings],
        "changes": dict(diagnosis.changes),
        "unknown": list(diagnosis.unknown),
        "grade": diagnosis.grade and _grade(diagnosis.grade),
        "phase": diagnosis.standing and _phase(diagnosis.standing),
        "seconds_left": diagnosis.seconds_left,
        "notes": list(diagnosis.notes),
    }


def diagnosis_lines(diagnosis: Diagnosis) -> list[str]:
    """Return a diagnosis in words."""
    run = diagnosis.run
    plan = f" of {run.planned_epochs}" if run.planned_epochs else ""
    begun = {True: ", from scratch", False: ", fine-tuned", None: ""}[run.from_scratch]
    return [
        f"{run.source}: {_kind(run)}epoch {run.last_epoch}{plan}{begun}",
        "",
        *(line for found in diagnosis.findings for line in _told(found, run)),
        *_learning(diagnosis),
        *(f"unknown   {line}" for line in diagnosis.unknown),
        *_result(diagnosis.grade, run),
        *(_standing(diagnosis.standing) if diagnosis.learning is Condition.NORMAL else []),
        *_time_left(diagnosis),
        *(f"note      {note}" for note in diagnosis.notes),
    ]


def _kind(run: Run) -> str:
    """Return the trainer and the task, unless the run is that of a usual detector."""
    task = "" if run.columns.task is Task.DETECT else f" ({run.columns.task})"
    return f"{run.columns.name}{task}, " if task or run.columns.name not in {YOLO.name, "unknown"} else ""


def _told(found: Finding, run: Run) -> Iterator[str]:
    begin, end = found.epochs
    where = (
        f"epochs {begin} to {end}" if end > begin else f"epoch {end}" if end else "before the end of the first epoch"
    )
    yield f"{found.condition.upper()}, {where}"
    yield f"  seen    {found.evidence}"
    yield f"  remedy  {found.advice}"
    for name, value in found.changes.items():
        yield f"  change  {name}: {changed(run.params.get(name), value)}"
    yield ""


def _learning(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield the state of the learning: normal, too early to judge or not judged; nothing if a finding is about it."""
    run = diagnosis.run
    if not run.epochs:
        return
    seen = [_course("training loss", train_loss(run), ".3g"), _course(scores(run.columns.task)[1], score(run), ".3f")]
    course = "; ".join(text for text in seen if text)
    if diagnosis.learning is Condition.TOO_EARLY:
        yield f"TOO EARLY TO JUDGE the curves; this needs {judged_from(run)} epochs: {course}"
        yield ""
    elif diagnosis.learning is Condition.NOT_JUDGED:
        shows = "The other data shows no problem" if diagnosis.findings else "The available data shows no problem"
        yield f"NOT JUDGED {_reason(run)}. {shows}: {course}"
        yield ""
    elif diagnosis.learning is Condition.NORMAL:
        yield f"NORMAL, {'judging by the curves' if diagnosis.findings else 'nothing to change'}: {course}"
        yield ""


def _reason(run: Run) -> str:
    if run.columns.task is Task.DETECT:
        return "as a whole, because some data is unknown (see below)"
    return f"beyond divergence, time and memory: the task is {run.columns.task}, and the other rules are for detectors"


def _course(name: str, curve: Curve, form: str) -> str:
    return f"{name} from {first(curve):{form}} to {last(curve):{form}}" if curve else f"{name} unknown"


def _result(grade: Grade | None, run: Run) -> Iterator[str]:
    if run.columns.task is not Task.DETECT:
        yield _best_epoch(run)
        return
    if grade is None:
        yield "result    no epoch has been validated"
        return
    values = ", ".join(f"{name} {value:.3f}" for name, value in grade.metrics.items())
    targets = " and ".join(f"{name} {targets[0]:g}" for name, targets in TARGETS.items())
    yield f"result    {grade.mark} ({values}, epoch {grade.epoch}); OK is above {targets}"
    if run.last_epoch < TARGET_EPOCHS:
        yield f"          the targets are for {TARGET_EPOCHS} epochs or more"
    elif run.from_scratch is not False and grade.below_good_run:
        ranges = ", ".join(f"{name} {low:.2f}-{high:.2f}" for name, (low, high) in GOOD_RUN.items())
        yield f"          a good run from scratch has {ranges}; below that: {', '.join(grade.below_good_run)}"


def _best_epoch(run: Run) -> str:
    """Return the line for a run of another task than detection, to which the targets do not apply."""
    name = scores(run.columns.task)[0]
    curve = metric(run, name)
    if not curve:
        return "result    no epoch has been validated"
    epoch, value = max(curve, key=lambda point: point[1])
    return f"result    {name} {value:.3f}, epoch {epoch}; not graded, because the targets are for detectors"


def _standing(standing: Standing | None) -> Iterator[str]:
    if standing is None:
        return
    (low, high), (begin, end) = standing.phase.map50, standing.epochs
    shown = f"{standing.map50:.3f}" if isfinite(standing.map50) else "unknown"
    yield (
        f"phase     {standing.number} of {len(PHASES)}, epochs {begin} to {end}: from scratch on many images, "
        f"mAP50 is usually {low:g}-{high:g}; here it is {shown}" + (" (behind)" if standing.is_behind else "")
    )


def _time_left(diagnosis: Diagnosis) -> Iterator[str]:
    if diagnosis.seconds_left is not None:
        left = timedelta(seconds=round(diagnosis.seconds_left))
        yield f"time left {left} until epoch {diagnosis.run.planned_epochs}, if the run is still active"


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "condition": found.condition,
        "epochs": list(found.epochs),
        "evidence": found.evidence,
        "advice": found.advice,
        "changes": dict(found.changes),
    }


def _grade(grade: Grade) -> dict[str, Any]:
    return {
        "mark": grade.mark,
        "epoch": grade.epoch,
        "metrics": {name: value if isfinite(value) else None for name, value in grade.metrics.items()},
        "below_good_run": list(grade.below_good_run),
    }


def _phase(standing: Standing) -> dict[str, Any]:
    return {
        "number": standing.number,
        "epochs": list(standing.epochs),
        "usual_mAP50": list(standing.phase.map50),
        "usual_box_loss": list(standing.phase.loss),
        "mAP50": standing.map50 if isfinite(standing.map50) else None,
        "box_loss": standing.loss if isfinite(standing.loss) else None,
        "is_behind": standing.is_behind,
    }
