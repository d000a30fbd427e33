"""Check the data of `tune status --json`, on which scripts rely, and the table."""

import json
import math
from io import StringIO

import pytest
from optuna.samplers import RandomSampler
from rich.console import Console

from tests.tuner.conftest import epoch, play
from tuner.comparison.reevaluation import Reevaluation, plan_for
from tuner.contract import EndRecord, Outcome
from tuner.report.status import STATUS_VERSION, status_of, status_table
from tuner.study import FinalRunFacts

# Increase STATUS_VERSION when you change these lists.
KEYS = {
    *("version", "study", "driver", "space", "model", "data", "data_sha256", "metric", "epochs", "rungs"),
    *("counts", "baseline", "best", "standing", "reevaluation", "final_run", "trials"),
}
KEYS_OF_BEST = {"trial", "value", "params"}
KEYS_OF_COUNTS = {"RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING"}
KEYS_OF_ANY_TRIAL = {"number", "state", "value", "curve", "reason", "sampled", "params", "began", "ended"}
KEYS_OF_A_TRAINED_TRIAL = {
    *KEYS_OF_ANY_TRIAL,
    *("attempts", "device", "directory", "log", "epochs", "seconds", "memory_gib", "batch", "checkpoint", "metrics"),
    *("judged", "losses"),
}


@pytest.fixture
def played(study, search):
    """Play complete, complete, failed, pruned, running and waiting trials."""
    play(search, search.suggest(), 0.5, 0.25)
    play(search, search.suggest(), 0.5, 0.3)
    search.report(search.suggest().trial, EndRecord(outcome=Outcome.ERROR, message="no [such] file"))
    play(search, search.suggest(), 0.1, 0.9)
    search.report(search.suggest().trial, epoch(3, 0.6))
    search.requeue(search.suggest().trial)
    return study


@pytest.fixture
def facts(played):
    return status_of(played)


def shown(facts, width=200):
    console = Console(file=StringIO(), width=width)
    console.print(*status_table(facts), sep="\n")
    return console.file.getvalue()


# The data


def test_the_version_has_its_documented_keys(facts):
    assert STATUS_VERSION == 1
    assert facts["version"] == 1
    assert set(facts) == KEYS
    assert set(facts["best"]) == KEYS_OF_BEST
    assert set(facts["counts"]) == KEYS_OF_COUNTS


def test_every_trial_has_the_same_keys_and_a_trained_one_more(facts):
    complete, _, _, pruned, running, waiting = facts["trials"]
    assert set(complete) == set(pruned) == KEYS_OF_A_TRAINED_TRIAL
    assert set(waiting) == KEYS_OF_ANY_TRIAL
    assert set(running) >= KEYS_OF_ANY_TRIAL


def test_a_study_without_trials_has_every_key_too(study):
    facts = status_of(study)
    assert set(facts) == KEYS
    assert (facts["baseline"], facts["best"], facts["final_run"], facts["trials"]) == (None, None, None, [])
    assert facts["standing"] == "no trial is complete yet"


def test_the_data_of_a_study_have_these_values(facts):
    assert facts["counts"] == {"RUNNING": 1, "PRUNED": 1, "COMPLETE": 2, "FAIL": 1, "WAITING": 1}
    assert (facts["baseline"], facts["best"]["trial"], facts["best"]["value"]) == (0.25, 1, 0.3)
    assert facts["standing"] == (
        "best 0.3000 (trial 1), 0.0500 ahead of the default configuration on one seed, which does not prove a gain"
    )
    assert facts["rungs"] == [3]


def test_the_data_of_a_trial_have_these_values(facts):
    trial = facts["trials"][3]
    assert (trial["number"], trial["state"], trial["value"], trial["curve"]) == (3, "PRUNED", None, {"3": 0.1})
    assert (trial["epochs"], trial["seconds"], trial["batch"]) == (3, 6.0, 16)
    assert trial["reason"].startswith("early stop at epoch 3")


def test_the_data_are_json_and_come_back_as_they_were(facts):
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_the_data_are_json_when_a_trial_diverged(study, search):
    search.report(search.suggest().trial, epoch(3, math.nan))
    search.report(search.suggest().trial, epoch(3, math.inf))
    json.dumps(status_of(study), allow_nan=False)


def test_the_final_run_is_shown_once_there_is_one(study):
    study.record_final_run(FinalRunFacts(trial=1, epochs=20, directory="/d", state="COMPLETE", metrics=None))
    assert status_of(study)["final_run"] == {
        "trial": 1, "epochs": 20, "directory": "/d", "state": "COMPLETE", "gpus": 0,
    }  # fmt: skip


def test_the_cause_and_the_attempts_of_a_failed_trial_are_shown(study, search):
    for _ in range(3):
        search.report(search.suggest().trial, EndRecord(outcome=Outcome.ERROR, message="killed", retryable=True))
    (trial,) = status_of(study)["trials"]
    assert (trial["state"], trial["failure"], trial["reason"]) == ("FAIL", "infrastructure", "infrastructure: killed")
    assert trial["failed_attempts"] == [{"failure": "infrastructure", "epoch": 0, "cause": "killed"}] * 3


def test_reading_the_status_changes_nothing(played):
    before = played.trials()
    status_of(played)
    assert played.trials() == before


# The table


def test_the_table_has_a_line_a_trial_between_subject_and_totals(facts):
    lines = shown(facts).splitlines()
    assert lines[0] == "s: mamba-yolo-n on sample"
    assert lines[1].split() == ["trial", "state", "mAP50-95", "epochs", "minutes", "why"]
    assert [line.split()[:2] for line in lines[2:8]] == [
        ["0", "COMPLETE"],
        ["1", "COMPLETE"],
        ["2", "FAIL"],
        ["3", "PRUNED"],
        ["4", "RUNNING"],
        ["5", "WAITING"],
    ]
    assert lines[8] == (
        "1 RUNNING, 2 COMPLETE, 1 PRUNED, 1 FAIL, 1 WAITING; "
        "best 0.3000 (trial 1), 0.0500 ahead of the default configuration on one seed, which does not prove a gain"
    )


def test_a_line_shows_value_epochs_minutes_and_why(facts):
    lines = shown(facts).splitlines()
    assert lines[2].rstrip().split(maxsplit=5) == ["0", "COMPLETE", "0.2500", "9", "0.3", "the default configuration"]
    assert lines[5].split()[2:5] == ["0.1000", "3", "0.1"]  # no value: the last value of its curve
    assert lines[6].split() == ["4", "RUNNING", "0.6000"]


def test_brackets_in_a_message_are_shown_as_they_are(facts):
    assert "error: no [such] file" in shown(facts)


def test_a_narrow_terminal_still_shows_every_trial(facts):
    text = shown(facts, width=40)
    assert all(state in text for state in ("COMPLETE", "FAIL", "PRUNED", "RUNNING", "WAITING"))


def test_a_study_without_trials_says_so(study):
    assert shown(status_of(study)).splitlines()[-1] == "no trials yet; no trial is complete yet"


def test_a_trial_that_never_reported_is_shown_empty(study, space):
    study.propose(RandomSampler(seed=0), space)
    assert shown(status_of(study)).splitlines()[2].split() == ["0", "RUNNING", "the", "default", "configuration"]


def test_the_table_shows_the_driver_of_the_study_or_that_it_has_none(search, study):
    search.suggest()
    assert "driven by process 7 on here" in shown(status_of(study, "process 7 on here"))
    assert "not running: run the same command again to continue 1 unfinished trial(s)" in shown(status_of(study))


def test_a_trial_that_is_retried_shows_why(search, study):
    request = search.suggest()
    search.report(request.trial, epoch(1))
    search.report(request.trial, EndRecord(outcome=Outcome.ERROR, message="was killed by SIGKILL", retryable=True))
    assert "retried after epoch 1: was killed by SIGKILL" in shown(status_of(study))


# The comparison on other seeds


@pytest.fixture
def reevaluation(study, search, paths, terms):
    play(search, search.suggest(), 0.5, 0.25)
    play(search, search.suggest(), 0.5, 0.3)
    return Reevaluation(study, plan_for(study), paths, terms, slots=1)


def test_before_the_verdict_the_table_shows_how_many_runs_have_ended(reevaluation, study):
    number = reevaluation.number_of(reevaluation.suggest())
    reevaluation.report(number, epoch(9, 0.3))
    reevaluation.report(number, EndRecord(outcome=Outcome.COMPLETED))
    assert "re-evaluation against the default configuration: 1 runs on fresh seeds have ended" in shown(
        status_of(study)
    )


def test_the_verdict_is_shown(reevaluation, study):
    while (request := reevaluation.suggest()) is not None:
        number = reevaluation.number_of(request)
        reevaluation.report(number, epoch(9, 0.3 + 0.1 * request.trial + 0.001 * request.seed))
        reevaluation.report(number, EndRecord(outcome=Outcome.COMPLETED))
    facts = status_of(study)
    assert facts["reevaluation"]["verdict"]["decision"] == "better"
    assert facts["standing"] == facts["reevaluation"]["verdict"]["statement"]
    assert shown(facts).count(facts["standing"]) == 1
    json.dumps(facts, allow_nan=False)


def test_after_a_verdict_only_the_verdict_states_the_gain(reevaluation, study):
    """Show either the lead in the search, 0.05 here, or the gain on other seeds, but not both."""
    while (request := reevaluation.suggest()) is not None:
        number = reevaluation.number_of(request)
        reevaluation.report(number, epoch(9, 0.3 + 0.02 * request.trial * (-1) ** request.seed))
        reevaluation.report(number, EndRecord(outcome=Outcome.COMPLETED))
    facts = status_of(study)
    assert facts["standing"].startswith("No gain over the default was shown: trial 1, ")
    text = " ".join(shown(facts).split())
    assert text.count(facts["standing"]) == 1
    assert "0.0500" not in text
    assert "ahead" not in text


def test_a_verdict_on_others_than_the_best_is_no_verdict_on_the_best(reevaluation, study, search):
    while (request := reevaluation.suggest()) is not None:
        number = reevaluation.number_of(request)
        reevaluation.report(number, epoch(9, 0.3 + 0.1 * request.trial))
        reevaluation.report(number, EndRecord(outcome=Outcome.COMPLETED))
    play(search, search.suggest(), 0.5, 0.4)
    text = shown(status_of(study))
    assert (
        "best 0.4000 (trial 2), 0.1500 ahead of the default configuration on one seed, which does not prove a gain"
        in text
    )
    assert "better than the baseline" not in text
