"""Use one definition of GPU-hours: in every sum of training time, a share of a GPU counts as this share."""

import dataclasses

import pytest
from optuna.trial import TrialState

from tests.tuner.conftest import epoch, play
from tuner.comparison.contest import plan
from tuner.comparison.record import EndedRun, Reevaluated, reevaluated
from tuner.cost.actual import full_run_times
from tuner.cost.estimate import CostEstimate, Course, Range
from tuner.dashboard.attributes import study_attributes, trial_attributes
from tuner.dashboard.facts import read_facts
from tuner.decisions.stopping import Budget
from tuner.report.compare.study import compared_study
from tuner.report.cost import Terms, cost_lines
from tuner.report.page.records.best_over_cost import best_over_cost
from tuner.report.page.records.costs import costs_of
from tuner.report.page.records.subject import subject_of
from tuner.report.studies import summary_of
from tuner.search.budget import TimeBudget
from tuner.search.search import Search
from tuner.study import EstimateFacts, FinalRunFacts, ProfilingFacts, StoredStudy, TrialFacts, gpu_seconds
from tuner.trials.live import LiveTrial, trained

EPOCH_S = 200.0
SECONDS = 2 * 9 * EPOCH_S
"""Training time of two trials of nine epochs: one hour."""


@pytest.fixture
def halves(terms):
    """Return the terms of trials that share each GPU with one other."""
    return dataclasses.replace(terms, gpus_per_trial=1, gpu_share=0.5)


@pytest.fixture
def shared(study, space, paths, halves):
    """Return a study of two complete trials of half an hour each, on half a GPU each."""
    estimate = EstimateFacts(trials=2, slots=2, trained=(18.0, 18.0), wall=(9.0, 9.0))
    study.record_profiling(ProfilingFacts(estimate=estimate))
    search = Search(study, space, paths, halves)
    for at_end in (0.25, 0.3):
        play(search, search.suggest(), 0.2, at_end, epoch_s=EPOCH_S)
    return study


def test_seconds_on_a_share_of_a_gpu_count_as_this_share():
    assert gpu_seconds(600.0, 1 / 3) == pytest.approx(200.0)
    assert TrialFacts(seconds=600.0, gpu_share=0.5).gpu_seconds == 300.0


def test_a_record_of_an_earlier_version_counts_as_a_whole_gpu():
    assert TrialFacts.decode({"seconds": 600.0}).gpu_seconds == 600.0
    assert EndedRun(trial=0, seed=1, value=0.5, seconds=600.0).gpu_seconds == 600.0
    assert TrialFacts().gpu_seconds == 0.0


def test_a_trial_is_recorded_with_its_share_and_one_on_a_whole_gpu_without(shared):
    assert [trial.facts.gpu_share for trial in shared.trials()] == [0.5, 0.5]
    assert trained(LiveTrial(number=0, seconds=4.0, gpu_seconds=4.0)).gpu_share is None


def test_a_trial_that_resumes_on_another_share_has_the_mean_of_both(study, space, paths, halves, terms):
    search = Search(study, space, paths, halves)
    number = search.suggest().trial
    for each in (1, 2):
        search.report(number, epoch(each, seconds=10.0))
    search.requeue(number)
    assert study.trial(number).facts.gpu_share == 0.5
    search = Search(study, space, paths, terms)
    assert search.suggest().trial == number
    for each in (1, 2, 3, 4):  # the trainer sends the first two again
        search.report(number, epoch(each, seconds=10.0))
    search.requeue(number)
    assert study.trial(number).facts.gpu_seconds == pytest.approx(2 * 5 + 2 * 10)


def test_requests_contain_the_share_of_the_trainer(study, space, paths, halves, terms):
    assert Search(study, space, paths, halves).suggest().gpu_share == 0.5
    assert Search(study, space, paths, terms).suggest().gpu_share == 1.0


def test_the_list_of_studies_counts_the_share(shared, paths):
    summary = summary_of(shared, is_driven=False, journal=paths.journal)
    assert summary.gpu_hours == pytest.approx(SECONDS / 2 / 3600)


def test_the_list_of_studies_counts_the_share_of_re_evaluations(shared, paths):
    runs = (EndedRun(trial=0, seed=1, value=0.2, epochs=9, seconds=3600.0, gpu_share=0.5),)
    planned = plan([1], baseline=0, search_seed=0, max_runs=6)
    shared.record_reevaluation(Reevaluated(plan=planned, runs=runs).encoded())
    assert reevaluated(shared).runs == runs
    summary = summary_of(shared, is_driven=False, journal=paths.journal)
    assert summary.gpu_hours == pytest.approx((SECONDS + 3600) / 2 / 3600)
    costs = {phase.phase: phase for phase in costs_of(shared).phases}
    assert costs["re-evaluation"].hours == pytest.approx(0.5)
    assert costs["re-evaluation"].epoch_s == pytest.approx(400.0)


def test_the_costs_of_the_report_count_the_share_and_its_times_do_not(shared):
    costs = costs_of(shared)
    (search,) = costs.phases
    assert search.hours == pytest.approx(0.5)
    assert search.epoch_s == pytest.approx(EPOCH_S), "the clock knows no shares"
    assert search.expected_hours == pytest.approx((0.5, 0.5))
    assert costs.expected_wall_hours == pytest.approx((0.5, 0.5)), "two slots need half an hour for an hour of training"


def test_the_best_over_cost_counts_the_share(shared):
    found = best_over_cost(subject_of(shared), shared.trials(), epochs_estimated=(18.0, 36.0))
    assert [point.hours for point in found.points] == pytest.approx([0.25, 0.5])
    assert found.hours == pytest.approx(0.5)
    assert found.estimate == pytest.approx((0.5, 1.0))


def test_a_comparison_of_studies_counts_the_share(shared, paths):
    compared = compared_study(shared, "a", paths, is_driven=True)
    assert (compared.cost.search, compared.cost.until_best) == pytest.approx((0.5, 0.5))


def test_the_dashboard_counts_the_share_and_names_it(shared, url, paths):
    shared.flush(10)
    stored = StoredStudy.open(url, "s", paths.root)
    facts = read_facts(stored, paths)
    stored.close()
    assert study_attributes(facts)["training time of the trials (GPU-h)"] == 0.5
    attributes = trial_attributes(facts, shared.trials()[0])
    assert (attributes["share of a GPU"], attributes["minutes"]) == (0.5, 30.0)


def test_the_budget_counts_the_share(shared, space):
    assert all(trial.state == TrialState.COMPLETE for trial in shared.trials())
    spent = TimeBudget(shared, {}, Budget(gpu_hours=0.5), gpus_per_trial=1)
    assert spent.reached(lambda: 0) == "the budget of 0.5 GPU-hours is spent (--gpu-hours)"
    number = shared.begin({"lr0": 0.3}, space).number
    live = {number: LiveTrial(number=number, seconds=360.0, gpu_seconds=180.0, gpu_share=0.5)}
    budget = TimeBudget(shared, live, Budget(gpu_hours=1.0), gpus_per_trial=1)
    left_s = 3600 - 1800 - 180
    assert budget.left_s() == pytest.approx(left_s / 0.5), "it uses half a second of the GPU in each second"


ESTIMATE = CostEstimate(
    arrivals={27: Range(9, 9)},
    trained=Range(240, 240),
    wall=Range(60, 60),
    idle_share=Range(0, 0),
    comparison_runs=Range(0, 0),
    courses=(Course(ends=(1.0,), scale=1.0),),
)


def test_the_estimate_counts_the_share_but_the_final_run_has_whole_gpus():
    terms = Terms(
        slots=4,
        gpus_per_trial=1,
        epochs=27,
        promote_epochs=300,
        epoch_s=60.0,
        source="timed now",
        disk_bytes=2**30,
        gpu_share=0.5,
    )
    search, final_run, *_ = cost_lines(ESTIMATE, terms)
    assert "240 epochs, 2.00 GPU-hours; 1:00:00 with 4 slot(s)" in search
    assert final_run == "final run: 300 epochs, at most 5.00 GPU-hours"


def test_a_final_run_on_whole_gpus_is_expected_to_take_less_than_at_the_pace_of_its_trial(shared, tmp_path):
    (tmp_path / "results.csv").write_text("epoch,time,metrics/mAP50-95(B)\n1,50,0.1\n2,100,0.2\n")
    shared.record_final_run(FinalRunFacts(trial=0, epochs=2, directory=str(tmp_path), state="COMPLETE", gpus=1))
    (line,) = full_run_times(shared)
    assert line == "final run: 2 epochs in 0:01:40; expected at most 0:06:40 at the pace of its trial"
