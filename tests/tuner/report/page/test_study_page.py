"""The report of a study: its numbers are those of the record, and its page needs no network and trusts no text."""

import re
import subprocess
from html import escape

import pytest

from tests.tuner.conftest import play
from tuner.report.page.charts.best_over_cost import best_over_cost_chart
from tuner.report.page.charts.curves import curves_chart
from tuner.report.page.charts.endings import endings_chart
from tuner.report.page.page import chart_images, render, write_page
from tuner.report.page.records.best_over_cost import best_over_cost
from tuner.report.page.records.curves import curves_of
from tuner.report.page.records.endings import endings
from tuner.report.page.records.subject import Role, subject_of
from tuner.report.page.study import study_page
from tuner.study import StoredStudy


@pytest.fixture
def searched(study, search, url, paths):
    """A study of three trials, read from its database: the default, a better one, and one that was stopped."""
    play(search, search.suggest(), 0.1, 0.25)
    play(search, search.suggest(), 0.2, 0.3)
    play(search, search.suggest(), 0.05, 0.1)
    study.flush(10)
    stored = StoredStudy.open(url, "s", paths.root)
    yield stored
    stored.close()


def rows(spec, *names):
    """The rows of the charts that have these columns."""
    return [row for data in spec["datasets"].values() for row in data if set(names) <= set(row)]


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


def test_chromium_draws_every_chart_without_a_request_or_an_error(searched, paths, tmp_path):
    report = study_page(searched, paths)
    write_page(report, paths.report)
    log = tmp_path / "network.json"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile",
               f"--log-net-log={log}", "--enable-logging=stderr", "--virtual-time-budget=4000", "--dump-dom",
               paths.report.as_uri()]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    drawn = len(list(report.charts()))
    assert drawn == 3
    assert len(re.findall(r'<svg[^>]* class="marks"', shown.stdout)) == drawn
    assert "CONSOLE" not in shown.stderr
    assert not re.search(r'(?:src|href)="https?:', paths.report.read_text(encoding="utf-8"))


def test_images_of_the_charts_are_png(searched, paths):
    images = chart_images(study_page(searched, paths))

    assert set(images) == {"best-over-cost.png", "curves.png", "endings.png"}
    assert all(content.startswith(b"\x89PNG") for content in images.values())


def test_the_page_says_what_the_search_took(searched, paths):
    assert study_page(searched, paths).lead == "It took 0.01 slot-hours in 3 trials."
