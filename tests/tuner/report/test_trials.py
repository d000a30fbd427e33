"""Show the trials of a study in order, and everything about one of them."""

import json
from io import StringIO

import pytest
from rich.console import Console

from tests.tuner.conftest import epoch, play
from tuner.comparison.reevaluation import Reevaluation, plan_for
from tuner.contract import EndRecord, Outcome, StartedRecord
from tuner.exceptions import UsageError
from tuner.report.status import status_of
from tuner.report.trials import best_parameters, sorted_trials, trial_lines, trial_of

KEYS = {"version", "study", "metric", "gain", "changes", "seed_runs", "trial"}


@pytest.fixture
def facts(study, search):
    """Return the data of these trials: the default with 0.25, 0.3, an early stop at 0.1, 0.2, and a failed one."""
    for at_rung, at_end in ((0.5, 0.25), (0.5, 0.3), (0.1, 0.9), (0.6, 0.2)):
        play(search, search.suggest(), at_rung, at_end)
    request = search.suggest()
    search.report(request.trial, StartedRecord(pid=1, device="GPU"))
    search.report(request.trial, epoch(1))
    for message in ("was killed by SIGKILL", "RuntimeError: x", "RuntimeError: x"):
        search.report(request.trial, EndRecord(outcome=Outcome.ERROR, message=message, retryable="SIGKILL" in message))
        if request.trial not in search.live:
            request = search.suggest()
    return status_of(study)


@pytest.mark.parametrize(
    ("key", "first"), [("number", [0, 1, 2, 3]), ("value", [1, 0, 3]), ("gain", [1, 0, 3]), ("cost", [0, 1, 3, 2])]
)
def test_trials_are_sorted(facts, key, first):
    assert [trial["number"] for trial in sorted_trials(facts["trials"], key, len(first))] == first


def test_an_early_value_of_a_stopped_trial_never_precedes_a_complete_one(facts):
    states = [trial["state"] for trial in sorted_trials(facts["trials"], "value", None)]
    assert states[:3] == ["COMPLETE"] * 3
    assert "COMPLETE" not in states[3:]


def test_an_unknown_order_is_refused(facts):
    with pytest.raises(UsageError, match=r"--sort must be one of number, value, gain, cost, epochs, but got 'name'\."):
        sorted_trials(facts["trials"], "name", None)


def test_the_parameters_of_the_best_are_those_that_differ_from_the_default(facts):
    console = Console(file=StringIO(), width=100)
    console.print(*best_parameters(facts, 2), sep="\n")
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    lr0 = facts["trials"][1]["params"]["lr0"]
    assert [line.split(maxsplit=3) for line in lines[1:]] == [
        ["best", "mAP50-95", "gain", "differs from the default in"],
        ["1", "0.3000", "+0.0500", f"lr0 {lr0:.4g}"],
        ["0", "0.2500", "+0.0000", "nothing: the default configuration"],
    ]


def test_the_data_of_one_trial_are_complete(facts, paths):
    one = trial_of(facts, 1, paths)
    assert set(one) == KEYS
    assert (one["version"], one["gain"], one["seed_runs"]) == (1, pytest.approx(0.05), [])
    assert one["changes"] == {"lr0": one["trial"]["params"]["lr0"]}
    assert trial_of(facts, 0, paths)["changes"] == {}
    assert json.loads(json.dumps(one, allow_nan=False)) == one


def test_the_text_of_one_trial_is_complete(facts, paths):
    lines = trial_lines(trial_of(facts, 1, paths))
    lr0 = facts["trials"][1]["params"]["lr0"]
    assert lines[:2] == [
        "trial 1 of s: COMPLETE",
        "result      mAP50-95 0.3000, +0.0500 over the default configuration on one seed",
    ]
    at = lines.index("differs from the default configuration in")
    assert lines[at + 1] == f"    lr0 = {lr0}"
    at = lines.index("mAP50-95 by epoch")
    assert lines[at + 1 : at + 3] == ["    3 = 0.5000", "    9 = 0.3000"]
    assert lines[-1] == f"log         {paths.trial(1) / 'trainer.log'} (not on this machine)"


def test_failed_attempts_are_listed(facts, paths):
    lines = trial_lines(trial_of(facts, 4, paths))
    at = lines.index("failed attempts")
    assert lines[at + 1] == "    after epoch 1 = infrastructure: was killed by SIGKILL"


def test_runs_on_fresh_seeds_are_listed(study, search, paths, terms):
    play(search, search.suggest(), 0.5, 0.25)
    play(search, search.suggest(), 0.5, 0.3)
    reevaluation = Reevaluation(study, plan_for(study), paths, terms, slots=1)
    while (request := reevaluation.suggest()) is not None:
        number = reevaluation.number_of(request)
        reevaluation.report(number, epoch(9, 0.3 + 0.1 * request.trial))
        reevaluation.report(number, EndRecord(outcome=Outcome.COMPLETED))
    one = trial_of(status_of(study), 1, paths)
    assert [run["value"] for run in one["seed_runs"]] == pytest.approx([0.4] * len(one["seed_runs"]))
    assert f"    seed {one['seed_runs'][0]['seed']} = 0.4000" in trial_lines(one)


@pytest.mark.parametrize("number", [-1, 6])
def test_a_trial_that_does_not_exist_is_refused(facts, paths, number):
    with pytest.raises(UsageError, match=rf"There is no trial {number} in 's': it has 0 to 5\."):
        trial_of(facts, number, paths)
