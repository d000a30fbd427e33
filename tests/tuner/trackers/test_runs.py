"""Make the runs of trackers from the record of a study."""

import threading

import pytest

from tests.tuner.conftest import driven, epoch, play
from tuner.comparison.contest import plan
from tuner.comparison.record import EndedRun, Reevaluated
from tuner.comparison.verdict import verdict
from tuner.contract import encode
from tuner.contract.run_folder import RECORDS
from tuner.search.search import Search
from tuner.study import FinalRunFacts
from tuner.trackers.messages import Kind
from tuner.trackers.runs import STUDY, runs_of


def keep(folder, *records):
    """Write the records of a run as our trainer does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORDS).write_text("".join(f"{encode(record)}\n" for record in records))


def test_a_study_without_trials_is_a_run_without_verdict(study, paths):
    runs = runs_of(study, paths)
    assert list(runs) == [STUDY]
    assert (runs[STUDY].kind, runs[STUDY].name, runs[STUDY].state) == (Kind.STUDY, "s", "RUNNING")
    assert runs[STUDY].params["data_sha256"] == "0" * 64
    assert "verdict" not in runs[STUDY].texts


def test_a_trial_has_parameters_curve_state_and_result(study, search, winner, paths):
    run = runs_of(study, paths)["trial-0001"]
    record = study.trial(1)
    assert run.params == {**record.params, "epochs": 9, "seed": 0}
    assert {e: v["mAP50-95"] for e, v in run.points.items()} == dict(record.curve) == {3: 0.1, 9: 0.3}
    assert run.points[9] == {"mAP50-95": 0.3, "mAP50": 0.3, "precision": 0.0, "recall": 0.0}
    assert (run.state, run.reason, run.last_epoch, run.texts) == ("COMPLETE", "", 9, {"device": "CPU"})
    assert run.summary == {"value": 0.3, "seconds": 18.0, "trained_epochs": 9, "memory_gib": 0.5, "attempts": 1}


def test_a_pruned_trial_has_its_reason(study, search, winner, paths):
    play(search, search.suggest(), 0.01, None)
    play(search, search.suggest(), 0.01, None)
    pruned = [run for run in runs_of(study, paths).values() if run.state == "PRUNED"]
    assert pruned
    assert all(run.reason.startswith("early stop at epoch 3") for run in pruned)


def test_a_running_trial_has_no_result_that_would_change(study, search, paths):
    search.suggest()
    run = runs_of(study, paths)["trial-0000"]
    assert (run.state, run.summary, run.has_ended) == ("RUNNING", {}, False)


def test_records_of_the_trainer_add_what_the_study_does_not_record(study, search, winner, paths):
    keep(paths.trial(1), epoch(1, box=2.0), epoch(3, 0.1), epoch(9, 0.3))
    points = runs_of(study, paths)["trial-0001"].points
    assert points[1] == {"train/box": 2.0, "lr": 0.01, "epoch_seconds": 2.0}
    assert points[3]["mAP50"] == 0.1
    assert list(points) == [1, 3, 9]


def test_the_value_that_the_study_decided_by_counts(study, search, winner, paths):
    keep(paths.trial(1), epoch(9, 0.7))
    assert runs_of(study, paths)["trial-0001"].points[9]["mAP50-95"] == 0.3


def test_the_best_value_by_ended_trials_is_the_curve_of_the_study(study, search, winner, paths):
    runs = runs_of(study, paths)
    assert runs[STUDY].points == {1: {"best": 0.25}, 2: {"best": 0.3}}
    assert runs[STUDY].texts == {"verdict": winner.said()}


def test_files_of_the_study_are_listed_at_the_end_of_a_run(study, winner, paths):
    paths.params.write_text("lr0: 0.1\n")
    assert runs_of(study, paths)[STUDY].files == ()
    assert runs_of(study, paths, state="COMPLETE")[STUDY].files == (str(paths.params),)
    paths.report.write_text("<html>")
    assert runs_of(study, paths, state="COMPLETE")[STUDY].files == (str(paths.params), str(paths.report))


@pytest.fixture
def comparison(study, winner):
    """Return a decided comparison with two ended runs."""
    planned = plan([1], baseline=0, search_seed=0, max_runs=6)
    ended = tuple(
        EndedRun(trial=t, seed=s, value=v, reason=r, epochs=9, seconds=3.0)
        for t, s, v, r in ((0, 1, 0.25, ""), (1, 1, None, "diverged"), (0, 2, 0.2, ""), (1, 2, 0.3, ""))
    )
    known = Reevaluated(plan=planned, runs=ended)
    return Reevaluated(plan=planned, runs=ended, verdict=verdict(planned, known.evidence))


def test_a_re_evaluation_has_the_parameters_of_its_trial_and_its_own_seed(study, comparison, paths):
    study.record_reevaluation(comparison.encoded())
    run = runs_of(study, paths)["trial-0001-seed-2"]
    assert (run.kind, run.name, run.state) == (Kind.REEVALUATION, "trial 1, seed 2", "COMPLETE")
    assert run.params == {**study.trial(1).params, "epochs": 9, "seed": 2}
    assert run.points == {9: {"mAP50-95": 0.3}}
    assert run.summary == {"value": 0.3, "seconds": 3.0, "trained_epochs": 9}
    failed = runs_of(study, paths)["trial-0001-seed-1"]
    assert (failed.state, failed.reason, failed.points) == ("FAIL", "diverged", {})


def test_a_re_evaluation_without_end_is_running_waiting_or_needless(study, comparison, paths):
    paths.reevaluated(0, 3).mkdir(parents=True)
    study.record_reevaluation(Reevaluated(plan=comparison.plan, runs=comparison.runs).encoded())
    assert runs_of(study, paths)["trial-0000-seed-3"].state == "RUNNING"
    assert runs_of(study, paths, state="FAIL")["trial-0000-seed-3"].state == "WAITING"
    study.record_reevaluation(comparison.encoded())
    needless = runs_of(study, paths)["trial-0000-seed-3"]
    assert (needless.state, needless.reason) == ("PRUNED", "the comparison was decided without it")
    assert "trial-0001-seed-3" not in runs_of(study, paths)


def test_the_verdict_is_text_gain_and_interval_of_the_study(study, comparison, paths):
    study.record_reevaluation(comparison.encoded())
    run = runs_of(study, paths, state="COMPLETE")[STUDY]
    said = comparison.verdict
    assert run.texts["verdict"].startswith(said.statement)
    known = {"gain": said.gain, "p_value": said.p_value}
    if said.interval is not None:
        known |= {"gain_low": said.interval[0], "gain_high": said.interval[1]}
    expected = {name: value for name, value in known.items() if value is not None}
    assert {n: v for n, v in run.summary.items() if not n.startswith("trials_")} == pytest.approx(expected)
    assert run.summary["trials_complete"] == 2


def test_the_final_run_has_the_curves_of_its_folder_and_the_metrics_of_its_weights(study, winner, paths):
    folder = paths.final_run(1, 20)
    keep(folder, epoch(1, 0.1), epoch(2, 0.2))
    study.record_final_run(
        FinalRunFacts(
            trial=1, epochs=20, directory=str(folder), state="COMPLETE", metrics={"mAP50": 0.4}, checkpoint="b.pt"
        )
    )
    run = runs_of(study, paths)["final-run-trial-0001-20-epochs"]
    assert (run.kind, run.state, run.params["epochs"]) == (Kind.FINAL_RUN, "COMPLETE", 20)
    assert {e: v["mAP50-95"] for e, v in run.points.items()} == {1: 0.1, 2: 0.2}
    assert (run.summary, run.texts) == ({"best/mAP50": 0.4}, {"weights": "b.pt"})


def test_files_of_runs_that_have_ended_are_not_read_again(study, winner, paths):
    keep(paths.trial(1), epoch(9, 0.3))
    first = runs_of(study, paths)
    (paths.trial(1) / RECORDS).unlink()
    again = runs_of(study, paths, known=first)
    assert again["trial-0001"] == first["trial-0001"]
    assert runs_of(study, paths)["trial-0001"] != first["trial-0001"]


def test_a_study_can_be_read_in_a_thread_while_it_is_driven(url, spec, paths, space, terms):
    failures, looks = [], []
    with driven(url, spec, paths) as study:
        is_over = threading.Event()

        def look():
            known = {}
            while not is_over.is_set():
                try:
                    known = runs_of(study, paths, known=known)
                    looks.append(len(known))
                except Exception as error:
                    failures.append(error)

        thread = threading.Thread(target=look)
        thread.start()
        search = Search(study, space, paths, terms)
        while (request := search.suggest()) is not None:
            play(search, request, 0.1 + request.trial / 100, 0.3)
        is_over.set()
        thread.join()
    assert failures == []
    assert len(set(looks)) > 2, "it looked while trials came and ended"
