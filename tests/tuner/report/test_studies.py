"""List studies: a row for each, even for an unreadable one, in terminals of any width."""

import json
import shutil
from datetime import UTC, datetime
from io import StringIO

import pytest
from optuna.trial import TrialState
from rich.console import Console

from tests.tuner.conftest import driven, epoch, play
from tuner.comparison.reevaluation import Reevaluation, plan_for
from tuner.contract import EndRecord, Outcome
from tuner.report.studies import StudySummary, studies_facts, studies_table, summaries, summary_of
from tuner.search.search import Search
from tuner.study import FinalRunFacts

NOW = datetime(2026, 11, 28, 20, 0, tzinfo=UTC)
KEYS = {
    *("name", "state", "metric", "best", "gain", "verdict", "ended", "trials", "gpu_hours", "changed", "problem"),
}


def shown(rows, width=120):
    console = Console(file=StringIO(), width=width)
    console.print(*studies_table(rows, NOW), sep="\n")
    return console.file.getvalue()


@pytest.fixture
def home(url, spec, space, paths, terms, tmp_path, empty_database):
    """Create a study with two complete trials and an interrupted one, an empty database, and a damaged one."""
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        play(search, search.suggest(), 0.5, 0.25)
        play(search, search.suggest(), 0.5, 0.3)
        search.requeue(search.suggest().trial)
    (tmp_path / "none").mkdir()
    shutil.copy(empty_database, tmp_path / "none" / "study.db")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "study.db").write_text("no database")
    return tmp_path


def test_a_row_shows_state_best_gain_trials_and_hours(home):
    (row,) = summaries(home, ["s"], [])
    assert (row.name, row.state, row.metric, row.best, row.verdict) == ("s", "waiting", "mAP50-95", 0.3, None)
    assert (row.gain, row.ended, row.trials) == (pytest.approx(0.05), 2, 3)
    assert row.gpu_hours == pytest.approx(2 * 9 * 2.0 / 3600)
    assert row.changed.endswith("+00:00")


def test_an_unreadable_study_gets_a_row_and_stays_as_it_is(home):
    before = {path: path.read_bytes() for path in home.glob("*/study.db")}
    rows = summaries(home, ["s", "torn", "none"], [])
    assert [(row.name, row.state) for row in rows] == [("none", "unreadable"), ("s", "waiting"), ("torn", "unreadable")]
    assert {path: path.read_bytes() for path in home.glob("*/study.db")} == before


def test_a_database_gives_its_studies_once(home, url):
    assert [row.name for row in summaries(home, ["s"], [url])] == ["s"]
    assert [row.name for row in summaries(home, [], [url, url])] == ["s"]


def test_a_study_is_running_while_it_has_a_driver_and_finished_when_nothing_is_left(study, search, paths):
    assert summary_of(study, is_driven=False, journal=paths.journal).state == "empty"
    request = search.suggest()
    assert summary_of(study, is_driven=True, journal=paths.journal).state == "running"
    play(search, request, 0.5, 0.25)
    assert summary_of(study, is_driven=False, journal=paths.journal).state == "finished"
    study.record_final_run(FinalRunFacts(trial=0, epochs=20, directory="/d", state=TrialState.WAITING.name))
    assert summary_of(study, is_driven=False, journal=paths.journal).state == "waiting"


def test_after_a_verdict_the_gain_is_that_of_the_verdict(study, search, paths, terms):
    play(search, search.suggest(), 0.5, 0.25)
    play(search, search.suggest(), 0.5, 0.3)
    reevaluation = Reevaluation(study, plan_for(study), paths, terms, slots=1)
    while (request := reevaluation.suggest()) is not None:
        number = reevaluation.number_of(request)
        reevaluation.report(number, epoch(9, 0.3 + 0.1 * request.trial + 0.001 * request.seed))
        reevaluation.report(number, EndRecord(outcome=Outcome.COMPLETED))
    row = summary_of(study, is_driven=False, journal=paths.journal)
    assert (row.verdict, row.gain) == ("better", pytest.approx(0.1))
    assert "+0.1000    yes" in shown([row])


def test_the_data_have_a_version_and_every_key(home):
    facts = json.loads(json.dumps(studies_facts(summaries(home, ["s", "torn"], [])), allow_nan=False))
    assert facts["version"] == 2
    assert all(set(row) == KEYS for row in facts["studies"])


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_keeps_every_column_and_the_whole_name(width):
    row = StudySummary(
        name="strong_aug-my-dataset-mamba-yolo-t", state="finished", metric="mAP50-95", best=0.4321, gain=-0.0123,
        ended=118, trials=120, gpu_hours=123.4, changed="2026-11-28T19:00:00+00:00", verdict="no gain shown",
    )  # fmt: skip
    text = shown([row], width)
    assert all(len(line) <= width for line in text.splitlines())
    assert all(cell in text for cell in ("finished", "0.4321", "-0.0123     no", "118/120", "123.4", "1 h"))
    names = "".join(line.split("  ")[0].strip() for line in text.splitlines()[1:])
    assert names == row.name


def test_hostile_text_of_a_problem_is_printed_harmlessly():
    text = shown([StudySummary(name="s", state="unreadable", problem="\x1b[2J [red]x[/red]")])
    assert "\x1b" not in text
    assert "[red]x[/red]" in text
