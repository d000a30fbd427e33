"""Check the notices at the top of a page."""

from datetime import UTC, datetime

from tests.tuner.conftest import play
from tuner.report.page.notices import stored_notice

NOW = datetime(2026, 11, 28, 21, 0, 5, tzinfo=UTC)


def test_the_page_of_a_driven_study_is_a_snapshot_with_its_time(study):
    said = stored_notice(study.trials(), "process 5 on host", NOW)
    assert said == "Snapshot of 2026-11-28 21:00:05 UTC: process 5 on host runs this study."


def test_a_study_with_waiting_trials_is_unfinished(study, search):
    search.requeue(search.suggest().trial)
    said = stored_notice(study.trials(), None, NOW)
    assert said == "The search is unfinished: 1 waits to resume; the command that started it continues it."


def test_a_finished_study_needs_no_notice(study, search):
    play(search, search.suggest(), 0.1, 0.25)
    assert stored_notice(study.trials(), None, NOW) == ""
