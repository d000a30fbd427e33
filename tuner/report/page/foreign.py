"""Collect the page of a study that another program made with Optuna: what can be had without our record."""

import math

from optuna.trial import TrialState

from tuner.exceptions import UsageError
from tuner.report.page.content import Page, Section, Table
from tuner.report.page.records.subject import Subject
from tuner.report.page.sections import study_sections
from tuner.study import StoredStudy, TrialRecord


def foreign_page(study: StoredStudy, *, notice: str = "") -> Page:
    """Collect the page: its trials, and the configuration of the best one.

    Args:
        study: Study without a record of ours.
        notice: State of the study in one sentence; empty if nothing is to be said about it.

    Raises:
        StorageError: The database cannot be used.
        UsageError: The study optimises several values.
    """
    objective = study.objective
    if objective is None:
        raise UsageError(
            f"A report needs a study with one objective, but '{study.name}' has several; use `optuna.visualization`."
        )
    trials = study.trials()
    best = _best(trials, maximised=objective.maximised)
    subject = Subject(
        name=study.name,
        metric=objective.name,
        winner=None if best is None else best.number,
        default=None,
        maximised=objective.maximised,
    )
    number = f"{len(trials):,} {'trial' if len(trials) == 1 else 'trials'}"
    return Page(
        title=study.name,
        headline=_headline(subject, best),
        lead=f"{number}. Another program made this study with Optuna, so only what Optuna records is known.",
        sections=(*_configuration(best), *study_sections(None, subject, trials)),
        notice=notice,
    )


def _best(trials: tuple[TrialRecord, ...], *, maximised: bool) -> TrialRecord | None:
    complete = [
        (trial.value if maximised else -trial.value, -trial.number, trial)
        for trial in trials
        if trial.state == TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value)
    ]
    return max(complete, key=lambda entry: entry[:2])[2] if complete else None


def _headline(subject: Subject, best: TrialRecord | None) -> str:
    if best is None or best.value is None:
        return "No trial is complete."
    extreme = "highest" if subject.maximised else "lowest"
    return f"Trial {best.number} has the {extreme} {subject.metric}: {best.value:.6g}."


def _configuration(best: TrialRecord | None) -> tuple[Section, ...]:
    if best is None or not best.sampled:
        return ()
    rows = tuple((name, str(value)) for name, value in sorted(best.sampled.items()))
    table = Table(header=("parameter", "value"), rows=rows)
    return (Section(title=f"Configuration of trial {best.number}", note="", items=(table,)),)
