"""Collect the page of one study."""

from tuner.exceptions import NoSuccessfulTrialError
from tuner.report.page.content import Page
from tuner.report.page.records.costs import costs_of
from tuner.report.page.records.subject import subject_of
from tuner.report.page.run_sections import run_sections, winner_sections
from tuner.report.page.sections import study_sections
from tuner.report.page.start_point_section import start_point_section
from tuner.study import ReadableStudy, StudyPaths, read_timeline
from tuner.training.final_run import choose_winner


def study_page(study: ReadableStudy, paths: StudyPaths, *, notice: str = "") -> Page:
    """Collect the page from a study and the files in its folder; parts that are missing are left out.

    Args:
        study: Study, driven or stored.
        paths: Paths of the study.
        notice: State of the study in one sentence; empty if nothing is to be said about it.

    Raises:
        StorageError: The database cannot be used.
        UsageError: The study optimises several values.
    """
    subject, spans = subject_of(study), read_timeline(paths.timeline)
    return Page(
        title=subject.name,
        headline=_headline(study),
        lead=_lead(study),
        sections=(
            *winner_sections(study, paths),
            *study_sections(study, subject, study.trials(), spans),
            *start_point_section(study.trials(), subject.metric),
            *run_sections(study, paths),
        ),
        notice=notice,
    )


def _headline(study: ReadableStudy) -> str:
    try:
        return choose_winner(study).said()
    except NoSuccessfulTrialError as error:
        return str(error)


def _lead(study: ReadableStudy) -> str:
    """Say what was trained on what, and what it took; failed attempts do not count as training."""
    spec, costs = study.spec, costs_of(study)
    what = f"{spec.model} on {spec.data}."
    if costs is None:
        return what
    number = len(study.trials())
    parts = [f"{phase.hours:,.2f} in the {phase.phase}" for phase in costs.phases]
    trials = f"{number:,} trial{'' if number == 1 else 's'}"
    return f"{what} {trials}, {costs.hours:,.2f} {costs.unit}: {', '.join(parts)}."
