"""Estimate the cost of a search by simulation before it begins."""

import dataclasses

import pytest

from tuner.cost.estimate import Range, estimate_cost
from tuner.report.cost import Terms, cost_lines
from tuner.space import parse_space

SPACE = """
search: {epochs: 27, rungs: [3, 9], reduction_factor: 3, trials: 27}
parameters:
  optimizer: {choice: [SGD, AdamW]}
  batch: 16
  imgsz: 64
  momentum: {when: {optimizer: SGD}, float: [0.6, 0.98]}
  lr0: {float: [0.0001, 1.0], log: true}
  weight_decay: {float: [0.0, 0.001]}
baseline: {optimizer: SGD, momentum: 0.9, lr0: 0.01, weight_decay: 0.0005}
"""


def space(**settings):
    return parse_space(SPACE, name="small", file="small.yaml").with_settings(**settings)


@pytest.fixture(scope="module")
def estimate():
    return estimate_cost(space(), slots=4)


TERMS = Terms(
    slots=4, gpus_per_trial=1, epochs=27, promote_epochs=300, epoch_s=60.0, source="timed now", disk_bytes=2**30
)


# The values


def test_the_same_space_is_estimated_the_same_again(estimate):
    assert estimate_cost(space(), slots=4) == estimate


def test_fewer_trials_reach_each_next_rung_and_some_reach_the_end(estimate):
    first, second, last = estimate.arrivals.values()
    assert list(estimate.arrivals) == [3, 9, 27]
    assert first.high <= 27
    assert first.low > second.high > 0
    assert second.low > last.low >= 3


def test_without_rungs_every_trial_that_does_not_diverge_is_trained_to_its_end():
    estimate = estimate_cost(space(rungs=()), slots=4)
    assert list(estimate.arrivals) == [27]
    assert estimate.arrivals[27].low >= 23
    assert estimate.trained.high <= 27 * 27


def test_more_slots_are_faster_and_more_idle(estimate):
    one, many = estimate_cost(space(), slots=1), estimate_cost(space(), slots=64)
    assert one.idle_share.high == pytest.approx(0.0, abs=1e-9)
    assert one.wall == one.trained
    assert estimate.wall.high < one.wall.low
    assert many.wall.low >= 27
    assert estimate.idle_share.high < many.idle_share.low < 1


def test_a_search_of_many_trials_is_estimated_in_proportion(estimate):
    ten_times = estimate_cost(space(trials=640), slots=40)
    a_tenth = estimate_cost(space(trials=64), slots=4)
    assert ten_times.trained.high == pytest.approx(10 * a_tenth.trained.high)
    assert ten_times.wall == a_tenth.wall
    assert ten_times.idle_share == a_tenth.idle_share


@pytest.mark.parametrize("strategy", ["asha-stopping", "asha-promotion", "auto"])
def test_each_strategy_is_estimated_by_its_own_decisions(strategy):
    estimate = estimate_cost(space(strategy=strategy), slots=4)
    assert 27 * 3 * 0.8 < estimate.trained.low <= estimate.trained.high < 27 * 27


def test_the_comparison_is_estimated_from_its_first_look_to_its_bound(estimate):
    assert estimate.comparison_runs == Range(6, 6)  # of such a short search
    assert estimate_cost(space(reevaluation_runs=16), slots=4).comparison_runs == Range(12, 16)
    assert estimate_cost(space(reevaluation_runs=0), slots=4).comparison_runs.high == 0


# The text


def test_a_timed_epoch_makes_hours_of_epochs(estimate):
    known = dataclasses.replace(
        estimate,
        trained=Range(240, 360),
        wall=Range(60, 90),
        idle_share=Range(0.02, 0.05),
        comparison_runs=Range(6, 12),
    )
    lines = cost_lines(known, TERMS)
    assert lines[0].endswith(
        "240 to 360 epochs, 4.00 to 6.00 GPU-hours; 1:00:00 to 1:30:00 with 4 slot(s), idle 2% to 5%"
    )
    assert lines[1:] == [
        "re-evaluation against the default configuration on fresh seeds: 6 to 12 runs; "
        "162 to 324 epochs, 2.70 to 5.40 GPU-hours",
        "final run: 300 epochs, 5.00 GPU-hours",
        "an epoch takes 60.0 s (timed now)",
        "ranges are the 10th to 90th percentile of simulated searches",
        "disk: at most 1,024 MiB",
    ]


def test_trials_on_several_gpus_cost_as_many_hours(estimate):
    lines = cost_lines(estimate, dataclasses.replace(TERMS, gpus_per_trial=2))
    assert "final run: 300 epochs, 10 GPU-hours" in lines


def test_before_an_epoch_has_been_timed_there_are_no_hours(estimate):
    text = "\n".join(cost_lines(estimate, dataclasses.replace(TERMS, epoch_s=None)))
    assert "hours" not in text
    assert "epoch time unknown: measure it with `tune run --dry-run`" in text


def test_phases_that_are_switched_off_are_not_estimated(estimate):
    known = dataclasses.replace(estimate, comparison_runs=Range(0, 0))
    text = "\n".join(cost_lines(known, dataclasses.replace(TERMS, promote_epochs=0, gpus_per_trial=0)))
    assert "comparison" not in text
    assert "full run" not in text
    assert "slot-hours" in text


def test_slots_that_would_idle_are_named(estimate):
    idle = dataclasses.replace(estimate, idle_share=Range(0.4, 0.6))
    assert cost_lines(idle, TERMS)[-1] == (
        "the slots are idle for 40% to 60% of the search; use more trials or fewer slots"
    )
