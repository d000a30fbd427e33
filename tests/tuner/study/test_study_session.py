"""Drive a study: its facts are soon in the database, and nothing is lost with its driver."""

import math
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from tests.tuner.conftest import driven, locked, stored
from tests.tuner.study.test_journal import no_file_larger_than
from tuner.exceptions import MachineError, StorageError, StudyChangedError
from tuner.search.samplers import make_sampler
from tuner.space import parse_space
from tuner.study import FailedAttempt, FinalRunFacts, StoredStudy, TrialFacts

ROOT = Path(__file__).parents[3]


def ask(study, space):
    return study.propose(RandomSampler(seed=0), space)


# Soon in the database


def test_a_reader_sees_what_the_driver_knows_once_all_is_written(study, space, url):
    for _ in range(4):
        ask(study, space)
    study.record(0, TrialFacts(device="Straße", attempts=1))
    study.record_epoch(0, 3, math.nan)
    study.finish(0, TrialState.COMPLETE, value=0.25, facts=TrialFacts(epochs=9, metrics={"mAP50": math.inf}))
    study.finish(1, TrialState.PRUNED, reason="früh", curve={3: 0.1})
    study.finish(2, TrialState.FAIL, reason="error: no such file")
    study.interrupt(3, TrialFacts(failed_attempts=(FailedAttempt(failure="hung", epoch=0, cause="silent"),)))
    final_run = FinalRunFacts(trial=0, epochs=300, directory="/d", state="RUNNING")
    study.record_final_run(final_run)
    study.record_command(("run", "--space", "a b.yaml"))
    study.flush(10)
    seen = StoredStudy.open(url, "s")

    def facts(trial):
        return repr((trial.number, trial.state, trial.value, trial.curve, trial.sampled, trial.params, trial.reason))

    assert [facts(t) for t in seen.trials()] == [facts(t) for t in study.trials()]
    assert [t.facts for t in seen.trials()] == [t.facts for t in study.trials()]
    assert seen.final_run == study.final_run == final_run
    assert (seen.spec, seen.name) == (study.spec, study.name)
    assert seen.command == study.command == ("run", "--space", "a b.yaml")


def test_a_configuration_that_does_not_fit_into_memory_breaks_a_constraint_for_optuna(study, space, url):
    ask(study, space)
    study.finish(0, TrialState.PRUNED, reason="out of memory", infeasible=True)
    study.flush(10)
    assert stored(url)[0].system_attrs == {"constraints:resources": 1.0}


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "random"])
def test_samplers_continue_silently_if_some_trials_broke_the_constraint(study, name):
    space = parse_space(
        """
search: {epochs: 9, rungs: [], trials: 8}
parameters: {optimizer: SGD, batch: 16, lr0: {float: [0.001, 0.1]}, momentum: {float: [0.6, 0.98]}}
baseline: {lr0: 0.01, momentum: 0.9}
""",
        name="s",
        file="s.yaml",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(8):
            trial = study.propose(make_sampler(name, seed=0, number=number, space=space), space)
            if number % 3 == 1:
                study.finish(trial.number, TrialState.PRUNED, reason="out of memory", infeasible=True)
            else:
                study.finish(trial.number, TrialState.COMPLETE, value=trial.params["lr0"])
    assert len({(trial.sampled["lr0"], trial.sampled["momentum"]) for trial in study.trials()}) == 8


def test_a_trial_has_its_end_and_its_last_value_in_one_line_of_the_journal(study, space, url, paths):
    ask(study, space)
    study.flush(10)
    with locked(url):
        study.finish(0, TrialState.PRUNED, reason="early stop", curve={3: 0.1}, facts=TrialFacts(epochs=3))
        assert len(paths.journal.read_text().splitlines()) == 1


# An unavailable database


def test_a_study_continues_while_its_database_refuses_writes(study, space, url):
    ask(study, space)
    study.flush(10)
    with locked(url):
        study.record_epoch(0, 3, 0.1)
        study.finish(0, TrialState.COMPLETE, value=0.2)
        assert ask(study, space).number == 1
        assert stored(url)[0].state == TrialState.RUNNING
        with pytest.raises(StorageError, match="does not answer: 3 changes of the study 's' are saved in its journal"):
            study.flush(0.05)
    study.flush(10)
    assert [t.state for t in stored(url)] == [TrialState.COMPLETE, TrialState.RUNNING]


KILLED = """
import sys
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from tests.tuner.conftest import SPACE
from tuner.storage.lease import study_lease
from tuner.study import StudyPaths
from tuner.space import parse_space
from tuner.study import TrialFacts, driven_study
from pathlib import Path

url, root = sys.argv[1:]
paths = StudyPaths(root=Path(root))
space = parse_space(SPACE, name="small", file="small.yaml")
with study_lease(url, "s") as lease, driven_study(lease, None, paths.journal) as study:
    print("driving", flush=True)
    sys.stdin.readline()
    study.begin({"lr0": 0.5}, space)
    study.record_epoch(0, 3, 0.1)
    study.record(0, TrialFacts(device="Straße"))
    study.finish(0, TrialState.COMPLETE, value=0.25)
    study.propose(RandomSampler(seed=2), space)
    study.record_epoch(1, 3, float("nan"))
    print("told", flush=True)
    sys.stdin.read()
"""


def test_the_next_driver_writes_what_a_killed_one_could_not(url, spec, paths):
    with driven(url, spec, paths):
        pass
    command = [sys.executable, "-c", KILLED, url, str(paths.root)]
    driver = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout.readline() == "driving\n"
        with locked(url):
            driver.stdin.write("\n")
            driver.stdin.flush()
            assert driver.stdout.readline() == "told\n"
            driver.send_signal(signal.SIGKILL)
            assert driver.wait(timeout=30) == -signal.SIGKILL
    finally:
        driver.kill()
        driver.communicate()
    assert stored(url) == []

    with driven(url, None, paths) as study:
        first, second = study.trials()
        assert paths.journal.read_bytes() == b""
    assert (first.state, first.value, first.curve, first.params["lr0"]) == (TrialState.COMPLETE, 0.25, {3: 0.1}, 0.5)
    assert first.facts.device == "Straße"
    assert (second.state, list(second.curve)) == (TrialState.RUNNING, [3])
    assert math.isnan(second.curve[3])


def test_a_journal_is_kept_when_the_next_driver_cannot_reach_the_database_either(url, spec, paths, space):
    with driven(url, spec, paths) as study:
        ask(study, space)
        study.flush(10)
    left = '{"trial":0,"curve":{"3":0.1}}\n{"trial":0,"cur'
    paths.journal.write_text(left)
    paths.database.write_text("this is no database, and long enough to be looked at " * 40)
    with pytest.raises(StorageError), driven(url, None, paths):
        pass
    assert paths.journal.read_text() == left


# Other programs


def test_a_study_to_which_another_program_adds_trials_is_abandoned(study, space, url):
    ask(study, space)
    study.flush(10)
    optuna.load_study(storage=url, study_name="s").ask()
    ask(study, space)
    with pytest.raises(StudyChangedError, match="trial 1 is not from this run"):
        study.flush(10)
    with pytest.raises(StudyChangedError):
        study.record_epoch(0, 3, 0.1)
    with pytest.raises(StudyChangedError):
        study.check()


def test_a_study_that_another_program_removes_is_abandoned(study, space, url):
    ask(study, space)
    study.flush(10)
    optuna.delete_study(storage=url, study_name="s")
    study.record_epoch(0, 3, 0.1)
    with pytest.raises(StudyChangedError, match="has removed trial 0, or the whole study"):
        study.flush(10)


def test_a_trial_that_another_program_closed_stays_as_it_is_and_the_others_continue(study, space, url):
    ask(study, space)
    ask(study, space)
    study.flush(10)
    optuna.load_study(storage=url, study_name="s").tell(0, state=TrialState.FAIL)
    study.record_epoch(0, 3, 0.1)
    study.finish(0, TrialState.COMPLETE, value=0.2)
    study.finish(1, TrialState.COMPLETE, value=0.3)
    study.flush(10)
    assert [(t.state.name, t.value, t.intermediate_values) for t in stored(url)] == [
        ("FAIL", None, {}),
        ("COMPLETE", 0.3, {}),
    ]


def test_changes_that_no_longer_fit_are_set_aside_and_the_study_continues(url, spec, paths, space):
    with driven(url, spec, paths) as study:
        optuna.load_study(storage=url, study_name="s").ask()
        ask(study, space)
        with pytest.raises(StudyChangedError):
            study.flush(10)
    left = paths.journal.read_text()
    told = []
    with driven(url, spec, paths, on_event=told.append) as study:
        assert [t.params for t in study.trials()] == [{}]
        assert ask(study, space).number == 1
        study.flush(10)
    (line,) = told
    assert "trial 0 is not from this run" in line
    assert (paths.root / "journal.refused.jsonl").read_text() == left
    assert str(paths.root / "journal.refused.jsonl") in line


def test_a_trial_that_a_user_enqueued_is_the_next_to_be_trained(url, spec, paths, space):
    with driven(url, spec, paths) as study:
        ask(study, space)
        study.finish(0, TrialState.COMPLETE, value=0.1)
    optuna.load_study(storage=url, study_name="s").enqueue_trial({"lr0": 0.5})
    optuna.load_study(storage=url, study_name="s").enqueue_trial({"lr0": 0.6})
    with driven(url, spec, paths) as study:
        taken = [ask(study, space) for _ in range(3)]
        assert [t.number for t in taken] == [1, 2, 3]
        assert [t.params["lr0"] for t in taken[:2]] == [0.5, 0.6]
        for number, value in ((1, 0.2), (2, 0.3), (3, 0.4)):
            study.finish(number, TrialState.COMPLETE, value=value)
        study.flush(10)
        assert [t.state for t in study.trials()] == [TrialState.COMPLETE] * 4
    trials = stored(url)
    assert [(t.params["lr0"], t.value) for t in trials[1:3]] == [(0.5, 0.2), (0.6, 0.3)]
    assert trials[1].user_attrs["params"] == taken[0].params


def test_a_new_trial_is_never_one_that_was_cut_off_or_paused(url, spec, paths, space):
    with driven(url, spec, paths) as study:
        for _ in range(3):
            ask(study, space)
        study.pause(1, 3, 0.1)
        study.interrupt(2)
        assert [ask(study, space).number for _ in range(2)] == [3, 4]
        assert [trial.state for trial in study.trials()[1:3]] == [TrialState.WAITING] * 2
        study.flush(10)
    assert [trial.state for trial in stored(url)[1:3]] == [TrialState.WAITING] * 2


# Start and end


def test_a_full_disk_ends_the_study_with_the_remedy(url, spec, paths, space):
    with driven(url, spec, paths) as study:
        ask(study, space)
        study.flush(10)
        with no_file_larger_than(100), pytest.raises(MachineError, match="free disk space"):
            study.record(0, TrialFacts(device="x" * 200))
    with driven(url, spec, paths) as study:
        assert [t.state for t in study.trials()] == [TrialState.RUNNING]


def test_no_thread_is_left_behind(url, spec, paths, space):
    before = threading.active_count()
    with driven(url, spec, paths) as study:
        ask(study, space)
    assert threading.active_count() == before


def test_once_a_thread_leaves_the_driving_thread_can_start_nothing_more(study, space, url):
    study.begin({"lr0": 0.01}, space)
    study.leave(5.0)
    study.interrupt_all()  # the leaving thread itself may still change the study
    drives = threading.Thread(target=study.begin, args=({"lr0": 0.02}, space), daemon=True)
    drives.start()
    drives.join(0.3)
    assert drives.is_alive()
    assert [trial.state for trial in stored(url)] == [TrialState.WAITING]
