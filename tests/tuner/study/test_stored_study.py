"""Read a study from its database with plain Optuna, and open it."""

import dataclasses
import json
import math
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from tests.tuner.conftest import driven, stored
from tuner.exceptions import StorageError, UsageError
from tuner.space import parse_space
from tuner.storage.urls import masked
from tuner.study import FinalRunFacts, StoredStudy, TrialFacts, TrialRecord, best_trial

ROOT = Path(__file__).parents[3]

TWO_OPTIMIZERS = """
search: {epochs: 9, rungs: [3], trials: 6, sampler: random}
parameters:
  batch: 16
  optimizer: {choice: [SGD, AdamW]}
  lr0:
    - {float: [0.001, 0.1], log: true, when: {optimizer: SGD}}
    - {float: [0.0001, 0.01], log: true, when: {optimizer: AdamW}}
baseline: {optimizer: SGD, lr0: 0.01}
"""


def ask(study, space):
    return study.propose(RandomSampler(seed=0), space)


def seen_by_optuna(study, url, number=0):
    """Return the trial as plain Optuna sees it."""
    study.flush(10)
    return stored(url)[number]


def a_trial(number, state=TrialState.COMPLETE, value=None):
    return TrialRecord(number=number, state=state, value=value, curve={}, sampled={}, params={}, reason="")


# Content of the database


def test_a_trial_that_ran_to_its_end_is_complete_with_its_value_in_optuna(study, space, url):
    ask(study, space)
    study.finish(0, TrialState.COMPLETE, value=0.25)
    trial = seen_by_optuna(study, url)
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [0.25])


def test_a_stopped_trial_is_pruned_with_the_reason_among_its_attributes(study, space, url):
    ask(study, space)
    study.record_epoch(0, 3, 0.1)
    study.finish(0, TrialState.PRUNED, reason="early stop at epoch 3", facts=TrialFacts(batch=16))
    trial = seen_by_optuna(study, url)
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["reason"] == "early stop at epoch 3"
    assert trial.user_attrs["batch"] == 16


def test_a_failed_trial_keeps_its_cause(study, space, url):
    ask(study, space)
    study.finish(0, TrialState.FAIL, reason="error: no such file")
    trial = seen_by_optuna(study, url)
    assert (trial.state, trial.value) == (TrialState.FAIL, None)
    assert trial.user_attrs["reason"] == "error: no such file"


def test_only_a_complete_trial_has_a_value(study, space):
    for state in (TrialState.PRUNED, TrialState.FAIL):
        number = ask(study, space).number
        study.record_epoch(number, 3, 0.1)
        study.finish(number, state, reason="why")
    assert [trial.value for trial in study.trials()] == [None, None]


def test_intermediate_values_are_kept_by_epoch_and_unvalidated_epochs_leave_none(study, space, url):
    ask(study, space)
    for number, value in ((3, 0.1), (9, 0.2)):
        study.record_epoch(0, number, value)
    assert seen_by_optuna(study, url).intermediate_values == {3: 0.1, 9: 0.2}
    assert study.trials()[0].curve == {3: 0.1, 9: 0.2}


def test_a_value_that_is_not_a_number_is_kept_as_it_is(study, space):
    ask(study, space)
    study.record_epoch(0, 3, math.nan)
    study.record_epoch(0, 4, math.inf)
    curve = study.trials()[0].curve
    assert math.isnan(curve[3])
    assert curve[4] == math.inf


def test_sampled_values_are_stored_by_label_and_trained_ones_by_name(url, spec, paths):
    space = parse_space(TWO_OPTIMIZERS, name="two", file="two.yaml")
    with driven(url, spec, paths) as study:
        study.begin(space.baseline_sampled(), space)
        trial = seen_by_optuna(study, url)
    assert trial.params == {"optimizer": "SGD", "lr0 [optimizer=SGD]": 0.01}
    assert trial.user_attrs["params"] == {"batch": 16, "optimizer": "SGD", "lr0": 0.01}


def test_the_range_that_was_searched_is_in_the_database(study, space, url):
    ask(study, space)
    assert seen_by_optuna(study, url).distributions == {"lr0": FloatDistribution(0.0001, 1.0, log=True)}


def test_a_note_on_a_trial_is_visible_in_optuna(study, space, url):
    ask(study, space)
    study.record(0, TrialFacts(device="Straße \u2028 GPU", log="/studies/ü/trainer.log", metrics={"mAP50": math.inf}))
    noted = seen_by_optuna(study, url).user_attrs
    assert (noted["device"], noted["log"]) == ("Straße \u2028 GPU", "/studies/ü/trainer.log")
    assert noted["metrics"] == {"mAP50": "inf"}


def test_times_are_those_of_the_trial(study, space):
    before = datetime.now()
    ask(study, space)
    running = study.trials()[0]
    study.finish(0, TrialState.COMPLETE, value=0.1)
    ended = study.trials()[0]
    assert running.ended is None
    assert before <= ended.began <= ended.ended <= datetime.now()


def test_the_study_has_its_metric_and_direction_for_optuna(study, url):
    seen = optuna.load_study(storage=url, study_name="s")
    assert seen.metric_names == ["mAP50-95"]
    assert seen.direction == optuna.study.StudyDirection.MAXIMIZE


def test_values_that_are_given_are_tried_instead_of_the_samplers(study, space):
    proposal = study.begin({"lr0": 0.5}, space)
    assert (proposal.number, proposal.params["lr0"]) == (0, 0.5)


def test_an_interrupted_trial_waits_and_comes_back_under_its_number_with_its_values(study, space, url):
    first = ask(study, space)
    ask(study, space)
    study.record_epoch(0, 3, 0.1)
    study.interrupt(0)
    assert seen_by_optuna(study, url).state == TrialState.WAITING
    again = study.resume(0)
    assert (again.number, again.params) == (0, first.params)
    assert seen_by_optuna(study, url).intermediate_values == {3: 0.1}


def test_a_trial_that_is_closed_stays_as_it_is(study, space):
    ask(study, space)
    study.finish(0, TrialState.COMPLETE, value=0.25)
    study.finish(0, TrialState.FAIL)
    assert (study.trials()[0].state, study.trials()[0].value) == (TrialState.COMPLETE, 0.25)


def test_a_trial_that_is_closed_takes_no_second_reason(study, space):
    ask(study, space)
    study.finish(0, TrialState.PRUNED, reason="first")
    study.finish(0, TrialState.FAIL, reason="second", facts=TrialFacts(epochs=3))
    assert (study.trials()[0].state, study.trials()[0].reason) == (TrialState.PRUNED, "first")


def test_trials_are_in_the_order_of_their_numbers_whatever_ended_first(study, space):
    for _ in range(3):
        ask(study, space)
    for number in (2, 0, 1):
        study.finish(number, TrialState.COMPLETE, value=number / 10)
    assert [(trial.number, trial.value) for trial in study.trials()] == [(0, 0.0), (1, 0.1), (2, 0.2)]


# Opening


def test_opening_a_missing_study_creates_no_file(tmp_path):
    database = tmp_path / "none" / "study.db"
    with pytest.raises(UsageError, match="There is no study 'none'"):
        StoredStudy.open(f"sqlite:///{database}", "none")
    assert list(tmp_path.iterdir()) == []


def test_a_study_is_opened_by_its_folder_alone(study, paths, monkeypatch):
    monkeypatch.chdir(paths.root.parent)
    assert StoredStudy.in_folder(Path(paths.root.name)).spec == study.spec
    with pytest.raises(UsageError, match="There is no study 'none'"):
        StoredStudy.in_folder(Path("none"))


def test_another_name_in_an_existing_database_is_refused(study, url):
    with pytest.raises(UsageError, match="There is no study 'other'"):
        StoredStudy.open(url, "other")
    assert optuna.get_all_study_names(url) == ["s"]


def test_an_existing_study_keeps_its_original_spec(url, spec, paths):
    with driven(url, spec, paths):
        pass
    with driven(url, dataclasses.replace(spec, seed=99, model="yolov8n.yaml"), paths) as again:
        assert again.spec == spec


def test_a_spec_comes_back_from_the_database_as_it_was(study, url, spec):
    found = StoredStudy.open(url, "s").spec
    assert found == spec
    assert isinstance(found.rungs, tuple)


def test_a_study_that_plain_optuna_made_has_no_spec(url):
    optuna.create_study(storage=url, study_name="foreign")
    with pytest.raises(StorageError, match="'foreign' was not created by tune"):
        _ = StoredStudy.open(url, "foreign").spec


def test_a_study_that_plain_optuna_made_is_not_taken_over(url, spec, paths):
    foreign = optuna.create_study(storage=url, study_name="foreign", direction="minimize")
    with (
        pytest.raises(StorageError, match="'foreign' was not created by tune"),
        driven(url, spec, paths, name="foreign"),
    ):
        pass
    assert foreign.user_attrs == {}


def test_a_file_that_is_not_a_database_is_reported_in_one_line(tmp_path):
    (tmp_path / "study.db").write_text("this is no database, and long enough to be looked at " * 40)
    with pytest.raises(StorageError, match=r"cannot be used: file is not a database; "):
        StoredStudy.open(f"sqlite:///{tmp_path / 'study.db'}", "s")


def test_an_invalid_database_url_is_reported():
    with pytest.raises(UsageError, match="--storage must be a database URL"):
        StoredStudy.open("nonsense", "s")


# The final run


def test_facts_about_the_final_run_accumulate(study, url):
    assert study.final_run is None
    begun = FinalRunFacts(trial=3, epochs=300, directory="/d", state="RUNNING")
    study.record_final_run(begun)
    study.record_final_run(replace(begun, state="COMPLETE", checkpoint="/d/best.pt"))
    study.flush(10)
    assert StoredStudy.open(url, "s").final_run == replace(begun, state="COMPLETE", checkpoint="/d/best.pt")


# Passwords


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:hunter2@host:5432/name", "postgresql://user:***@host:5432/name"),
        ("mysql+pymysql://user:p%40ss@host/name", "mysql+pymysql://user:***@host/name"),
        ("postgresql://user@host/name", "postgresql://user@host/name"),
        ("sqlite:////studies/s/study.db", "sqlite:////studies/s/study.db"),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    assert masked(url) == shown


def test_a_password_among_the_options_of_a_url_is_hidden_too():
    assert "hunter2" not in masked("postgresql://host/name?user=me&password=hunter2")


def test_a_database_without_its_driver_is_reported_without_the_password():
    with pytest.raises(StorageError, match="needs a package that is not installed: cx_Oracle") as caught:
        StoredStudy.open("oracle+cx_oracle://user:hunter2@host/name", "s")
    assert "hunter2" not in str(caught.value)


# The best trial


def test_the_best_is_the_highest_complete_value():
    trials = (a_trial(0, value=0.1), a_trial(1, value=0.3), a_trial(2, TrialState.PRUNED), a_trial(3, value=0.2))
    assert best_trial(trials).number == 1


def test_the_earlier_of_two_equal_trials_is_best():
    assert best_trial((a_trial(0, value=0.1), a_trial(1, value=0.3), a_trial(2, value=0.3))).number == 1


def test_there_is_no_best_trial_without_a_complete_one():
    assert best_trial(()) is None
    assert best_trial((a_trial(0, TrialState.PRUNED), a_trial(1, TrialState.RUNNING))) is None


# Other processes

READER = """
import json, sys
from tuner.study import StoredStudy

longest = 0
print("reading", flush=True)
while longest < 50:
    study = StoredStudy.open(sys.argv[1], "s")
    curve = study.trials()[0].curve
    assert list(curve) == list(range(1, len(curve) + 1)), curve  # never a gap
    longest = len(curve)
print(json.dumps(longest))
"""


def started(program, *arguments):
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_reader_in_another_process_sees_a_study_grow_and_neither_blocks_the_other(study, space, url):
    ask(study, space)
    reader = started(READER, url)
    try:
        assert reader.stdout.readline() == "reading\n"
        for at in range(1, 51):
            study.record_epoch(0, at, at / 100)
        out, err = reader.communicate(timeout=60)
    finally:
        reader.kill()
    assert reader.returncode == 0, err
    assert "locked" not in err
    assert json.loads(out) == 50
