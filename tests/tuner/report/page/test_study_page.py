"""Report a study: the numbers are those of the record, and the page needs no network and trusts no text."""

from html import escape

import pytest

from tests.support.browser import opened_page
from tests.tuner.conftest import play
from tests.tuner.report.page.conftest import rows
from tuner.report.page.charts.best_over_cost import best_over_cost_chart
from tuner.report.page.charts.curves import curves_chart
from tuner.report.page.charts.endings import endings_chart
from tuner.report.page.charts.style import PAGE
from tuner.report.page.content import Chart
from tuner.report.page.page import render, write_page
from tuner.report.page.records.best_over_cost import best_over_cost
from tuner.report.page.records.curves import curves_of
from tuner.report.page.records.endings import endings
from tuner.report.page.records.subject import Role, drawn_trials, even_sample, sample_note, subject_of
from tuner.report.page.study import study_page
from tuner.study import StoredStudy


@pytest.fixture
def searched(study, search, url, paths):
    """Return a study of three trials, read from its database: the default, a better one, and a stopped one."""
    play(search, search.suggest(), 0.1, 0.25)
    play(search, search.suggest(), 0.2, 0.3)
    play(search, search.suggest(), 0.05, 0.1)
    study.flush(10)
    stored = StoredStudy.open(url, "s", paths.root)
    yield stored
    stored.close()


def test_the_best_value_and_the_cost_are_those_of_the_trials(searched):
    trials, subject = searched.trials(), subject_of(searched)
    record = best_over_cost(subject, trials)

    assert record.default == trials[0].value
    assert record.hours * 3600 == pytest.approx(sum(trial.facts.seconds for trial in trials))
    assert [(p.trial, p.value) for p in record.points] == [(t.number, t.value) for t in trials if t.value is not None]
    assert record.points[-1].best == max(trial.value for trial in trials if trial.value is not None)
    shown = rows(best_over_cost_chart(record), "trial", "value")
    assert [(row["trial"], row["value"]) for row in shown] == [(p.trial, p.value) for p in record.points]


def test_every_curve_is_that_of_its_trial_with_winner_and_default_marked(searched):
    trials = searched.trials()
    record = curves_of(subject_of(searched), trials, searched.spec.rungs)

    assert {c.trial: dict(zip(c.epochs, c.values, strict=True)) for c in record.curves} == {
        trial.number: dict(trial.curve) for trial in trials if trial.curve
    }
    assert {c.trial: c.role for c in record.curves} == {0: Role.DEFAULT, 1: Role.WINNER, 2: Role.OTHER}
    assert rows(curves_chart(record), "epoch", "trial")


def test_the_page_draws_a_sample_of_too_many_trials_with_the_best_and_says_so(finished, finished_paths, monkeypatch):
    trials, subject = finished.trials(), subject_of(finished)
    assert (drawn_trials(subject, trials), sample_note(trials, trials)) == (trials, "")
    monkeypatch.setattr("tuner.report.page.records.subject.MOST_DRAWN", 4)
    monkeypatch.setattr("tuner.report.page.records.subject._BEST_DRAWN", 2)
    assert [trial.number for trial in even_sample(trials)] == [0, 3, 6, 9]
    drawn = drawn_trials(subject, trials)
    best = sorted((t for t in trials if t.value is not None), key=lambda trial: -trial.value)[:2]
    assert [t.number for t in drawn] == sorted({0, 3, 6, 9, subject.winner, *(t.number for t in best)})

    page = study_page(finished.snapshot(), finished_paths)

    noted = [section for section in page.sections if f"Of 12 trials, {len(drawn)} are drawn" in section.note]
    assert {item.name for section in noted for item in section.items if isinstance(item, Chart)} >= {
        "curves",
        "parallel",
    }
    (curves,) = [chart for chart in page.charts() if chart.name == "curves"]
    assert {row["trial"] for row in rows(curves.draw(PAGE), "epoch", "trial")} <= {t.number for t in drawn}
    assert f"of {sum(bool(t.curve) for t in trials)} trials reached epoch" in str([s.title for s in page.sections])


def test_a_snapshot_is_the_study_at_one_moment(study, search, url, paths):
    play(search, search.suggest(), 0.1, 0.25)
    study.flush(10)
    stored = StoredStudy.open(url, "s", paths.root)
    before = stored.snapshot()
    assert (before.name, before.spec, before.trials()) == ("s", stored.spec, stored.trials())
    request = search.suggest()
    play(search, request, 0.2, 0.3)
    study.flush(10)
    assert len(before.trials()) == 1
    assert [trial.value for trial in stored.snapshot().trials()] == [0.25, 0.3]
    stored.close()


def test_every_trial_has_one_ending(searched):
    record = endings(searched.trials())

    assert {each.ending: each.trials for each in record} == {"complete": 2, "stopped at epoch 3": 1}
    assert {row["ending"]: row["trials"] for row in rows(endings_chart(record), "ending")} == {
        each.ending: each.trials for each in record
    }


def test_text_from_a_study_is_escaped(searched, paths):
    paths.params.write_text("# </pre><script>alert(1)</script>\n")

    page = render(study_page(searched, paths))

    assert "<script>alert(1)" not in page
    assert escape("</pre><script>alert(1)</script>") in page


def test_the_page_shows_the_cost_of_the_search(searched, paths):
    page = study_page(searched, paths)

    assert page.lead == "mamba-yolo-n on sample. 3 trials, 0.01 slot-hours: 0.01 in the search."


def test_a_study_without_trials_has_a_page(study, url, paths):
    study.flush(10)
    stored = StoredStudy.open(url, "s", paths.root)

    page = study_page(stored, paths)
    stored.close()

    assert page.headline.startswith("No trial of 's' has started yet")
    assert list(page.charts()) == []


@pytest.mark.parametrize("values", [[(0.1, 0.25)], [(0.05, 0.1)], [(0.1, 0.25), (0.2, 0.3), (0.05, 0.1)]])
def test_the_charts_of_few_trials_without_an_estimate_are_drawn_without_a_warning(study, search, paths, values):
    for curve in values:
        play(search, search.suggest(), *curve)
    write_page(study_page(study, paths), paths.report)
    with opened_page() as (page, witness):
        page.goto(paths.report.as_uri())
        page.wait_for_function(
            "document.querySelectorAll('.chart').length === document.querySelectorAll('svg.marks').length"
        )
        assert page.locator("svg.marks").count() >= 3
        assert witness.errors == []
