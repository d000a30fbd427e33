"""Collect the page of one study."""

from tuner.comparison.record import reevaluated
from tuner.exceptions import NoSuccessfulTrialError
from tuner.report.page.content import Page, Section, Text
from tuner.report.page.records.subject import cost_unit, subject_of
from tuner.report.page.sections import study_sections
from tuner.study import ReadableStudy, StudyPaths, read_timeline
from tuner.training.final_run import choose_winner


def study_page(study: ReadableStudy, paths: StudyPaths) -> Page:
    """Collect the page from a study and the files in its folder; parts that are missing are left out.

    Raises:
        StorageError: The database cannot be used.
        UsageError: The study optimises several values.
    """
    subject, spans = subject_of(study), read_timeline(paths.timeline)
    return Page(
        title=subject.name,
        headline=_headline(study),
        lead=_cost(study),
        sections=(*study_sections(study, subject, study.trials(), spans), *_params(paths)),
    )


def _headline(study: ReadableStudy) -> str:
    try:
        return choose_winner(study).said()
    except NoSuccessfulTrialError as error:
        return str(error)


def _cost(study: ReadableStudy) -> str:
    """Return what search and re-evaluation have trained; failed attempts are not recorded, so they do not count."""
    trials, known = study.trials(), reevaluated(study)
    search = sum(trial.facts.seconds or 0.0 for trial in trials) / 3600
    if not search:
        return ""
    again = 0.0 if known is None else sum(run.seconds for run in known.runs) / 3600
    after = f" and {again:,.2f} in {len(known.runs)} re-evaluation runs" if known is not None and again else ""
    return f"It took {search:,.2f} {cost_unit(trials)} in {len(trials)} trials{after}."


def _params(paths: StudyPaths) -> tuple[Section, ...]:
    try:
        content = paths.params.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ()
    return (Section(title="params.yaml", note="", items=(Text(content=content),)),)
