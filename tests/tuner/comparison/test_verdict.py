"""Verdicts on the winner and the baseline: false and true claims, the runs that they take, and failures."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tuner.comparison.contest import ComparisonPlan, Conclusion, Run, Verdict, plan
from tuner.comparison.verdict import next_runs, verdict

NAN = math.nan


def comparison(candidates: int = 3, *, max_runs: int = 20, seeds: int = 12) -> ComparisonPlan:
    """Return a plan that compares baseline 0 with 1, 2, ... on seeds 101, 102, ..."""
    return ComparisonPlan(
        baseline=0,
        candidates=tuple(range(1, candidates + 1)),
        seeds=tuple(range(101, 101 + seeds)),
        max_runs=max_runs,
    )


def evidence(*rows: list[float]) -> dict[tuple[int, int], float]:
    """Return the metrics of the baseline, then of each candidate, on seeds 101, 102, ..."""
    return {(trial, 101 + i): metric for trial, row in enumerate(rows) for i, metric in enumerate(row)}


def played(about: ComparisonPlan, metric: Callable[[Run], float]) -> tuple[Verdict, dict[tuple[int, int], float]]:
    """Carry out every requested run. Return the verdict and the runs."""
    seen: dict[tuple[int, int], float] = {}
    while asked := next_runs(about, seen):
        seen |= {run: metric(run) for run in asked}
    assert len(seen) <= about.max_runs
    return verdict(about, seen), seen


def after_a_search(metrics: np.ndarray, *, max_runs: int = 20) -> ComparisonPlan:
    """Return the best three by the search's values on seed 0. Row 0 is the baseline."""
    ranking = [int(row) for row in np.argsort(-metrics[:, 0])]
    return plan(ranking, baseline=0, search_seed=0, max_runs=max_runs)


# Cases by hand


def test_one_candidate_and_one_look_is_the_paired_t_test_at_four_fifths_of_alpha():
    seen = evidence([0.50, 0.52, 0.51], [0.54, 0.55, 0.56])  # differences 0.04, 0.03, 0.05: t = 0.04 / 0.00577
    found = verdict(comparison(1, max_runs=6), seen)
    assert found.gain == pytest.approx(0.04)
    assert found.p_value == pytest.approx(stats.ttest_1samp([0.04, 0.03, 0.05], 0, alternative="greater").pvalue, 0.05)
    low, high = found.interval
    assert low == pytest.approx(0.04 - stats.t.isf(0.04, 2) * 0.01 / math.sqrt(3), abs=2e-4)
    assert high == pytest.approx(0.04 + stats.t.isf(0.01, 2) * 0.01 / math.sqrt(3))


def test_a_clear_lead_is_called_better_at_once():
    seen = evidence([0.50, 0.52, 0.51], [0.60, 0.63, 0.61], [0.55, 0.56, 0.55], [0.51, 0.53, 0.50])
    found = verdict(comparison(), seen)
    assert (found.conclusion, found.decided, found.winner, found.leader) == (Conclusion.BETTER, True, 1, 1)
    assert (found.seeds, found.runs) == (3, 12)
    assert found.gain == pytest.approx(0.10333, abs=1e-5)
    assert found.interval[0] > 0
    assert next_runs(comparison(), seen) == ()
    low, high = found.interval
    assert found.statement == (
        f"Trial 1 is better than the baseline by 0.1033, 95 % interval [{low:.4g}, {high:.4g}], on 3 paired seeds."
    )


def test_a_leader_behind_the_baseline_ends_it_and_the_baseline_is_promoted():
    seen = evidence([0.50, 0.52, 0.51], [0.48, 0.51, 0.52], [0.45, 0.46, 0.45], [0.41, 0.43, 0.40])
    found = verdict(comparison(), seen)
    assert (found.conclusion, found.decided, found.winner, found.leader) == (Conclusion.NOT_SHOWN, True, 0, 1)
    assert found.statement.startswith("No gain over the default was shown: trial 1, the best candidate, differs")
    assert next_runs(comparison(), seen) == ()


def test_a_leader_without_proof_is_promoted_anyway():
    seen = evidence([0.50, 0.52, 0.51], [0.53, 0.51, 0.52], [0.45, 0.46, 0.45], [0.41, 0.43, 0.40])
    found = verdict(comparison(max_runs=12), seen)
    assert (found.conclusion, found.decided, found.winner) == (Conclusion.NOT_SHOWN, True, 1)
    assert found.interval[0] < 0 < found.gain < found.interval[1]


def test_a_difference_in_the_last_digits_is_no_gain():
    same = [0.3, 0.3, 0.3]
    found = verdict(comparison(1, max_runs=6), evidence(same, [x + 1e-16 for x in same]))
    assert found.conclusion == Conclusion.NOT_SHOWN
    assert verdict(comparison(1, max_runs=6), evidence(same, same)).winner == 0


def test_metrics_that_do_not_depend_on_the_seed_are_compared_exactly():
    found = verdict(comparison(1, max_runs=6), evidence([0.3] * 3, [0.4] * 3))
    assert found.conclusion == Conclusion.BETTER
    assert found.interval == pytest.approx((0.1, 0.1))


# Uneven noise


STEADY = [0.50, 0.502, 0.501]
"""Metrics of a baseline that barely varies between seeds."""


def test_candidates_that_vary_more_than_the_baseline_need_a_larger_lead_and_the_statement_says_so():
    rivals = ([0.55, 0.59, 0.57], [0.54, 0.58, 0.56])
    even = verdict(comparison(), evidence([0.49, 0.51, 0.50], [0.57, 0.61, 0.59], *rivals))
    uneven = verdict(comparison(), evidence(STEADY, [0.57, 0.61, 0.59], *rivals))
    assert (even.conclusion, "vary more" in even.statement) == (Conclusion.BETTER, False)
    assert (uneven.conclusion, uneven.decided, uneven.leader) == (Conclusion.NOT_SHOWN, False, 1)
    assert uneven.interval[0] < 0 < uneven.gain
    assert uneven.statement.endswith("which can hide rare bad runs, so a larger lead is required.")


def test_a_lead_that_is_large_enough_is_better_in_spite_of_uneven_noise():
    found = verdict(comparison(), evidence(STEADY, [0.77, 0.81, 0.79], [0.55, 0.59, 0.57], [0.54, 0.58, 0.56]))
    assert (found.conclusion, found.decided) == (Conclusion.BETTER, True)
    assert "so a larger lead is required" in found.statement


def test_a_baseline_that_varies_more_than_the_candidates_needs_no_larger_lead():
    found = verdict(comparison(1, max_runs=6), evidence([0.50, 0.52, 0.51], [0.61, 0.63, 0.62]))
    assert found.conclusion == Conclusion.BETTER
    assert "vary more" not in found.statement


# Requested runs


def test_configurations_run_seed_by_seed_with_the_baseline_first():
    asked = next_runs(comparison(2), {})
    assert asked == tuple(Run(trial, seed) for seed in (101, 102, 103) for trial in (0, 1, 2))


def test_only_leader_and_baseline_continue_after_the_first_look():
    seen = evidence([0.50, 0.52, 0.51], [0.54, 0.51, 0.53], [0.51, 0.52, 0.51], [0.41, 0.43, 0.40])
    assert not verdict(comparison(), seen).decided
    assert next_runs(comparison(), seen) == (Run(0, 104), Run(1, 104))
    assert next_runs(comparison(), seen, ahead=1) == (Run(0, 104), Run(1, 104), Run(0, 105), Run(1, 105))
    assert len(next_runs(comparison(max_runs=20), seen, ahead=9)) == 8


def test_the_last_look_within_the_limit_ends_it():
    seen = evidence([0.50, 0.52, 0.51], [0.52, 0.52, 0.54], [0.51, 0.52, 0.51], [0.41, 0.43, 0.40])
    about = comparison(max_runs=15)
    assert next_runs(about, seen, ahead=5) == (Run(0, 104), Run(1, 104))
    ended = seen | {(0, 104): 0.53, (1, 104): 0.52}
    assert next_runs(about, ended) == ()
    assert verdict(about, ended).seeds == 4


def test_running_ones_count_and_are_not_requested_again():
    running = {Run(0, 101), Run(2, 103)}
    asked = next_runs(comparison(max_runs=12), {}, running=running)
    assert len(asked) == 10
    assert not running & set(asked)
    assert next_runs(comparison(max_runs=12), {}, running=[*running, *asked]) == ()


def test_nothing_is_concluded_before_the_first_look():
    found = verdict(comparison(), evidence([0.5, 0.5], [0.7, 0.6], [0.8, 0.8]))
    assert (found.conclusion, found.decided, found.gain, found.p_value) == (Conclusion.UNKNOWN, False, None, None)
    assert found.statement == ("No conclusion about a gain over the default: the first runs have not ended yet.")


def test_a_limit_too_low_for_a_comparison_is_reported():
    about = comparison(1, max_runs=5)
    assert next_runs(about, {}) == ()
    found = verdict(about, {})
    assert (found.conclusion, found.decided, found.winner) == (Conclusion.UNKNOWN, True, 1)
    assert found.statement.endswith("a comparison takes 6 runs, but only 5 are allowed.")


# Failures


@pytest.mark.parametrize("failure", [NAN, math.inf, -math.inf])
def test_a_candidate_that_failed_once_is_out(failure):
    seen = evidence([0.50, 0.52, 0.51], [0.90, failure, 0.91], [0.60, 0.63, 0.61])
    found = verdict(comparison(2), seen)
    assert (found.conclusion, found.winner, found.leader) == (Conclusion.BETTER, 2, 2)
    assert found.results[1].failures == 1
    assert found.results[1].mean == pytest.approx(0.905)


def test_a_candidate_that_failed_gets_no_further_runs():
    assert Run(1, 102) not in next_runs(comparison(2), {(1, 101): NAN})


def test_no_gain_is_shown_when_every_candidate_failed():
    found = verdict(comparison(2), {(1, 101): NAN, (2, 101): NAN})
    assert (found.conclusion, found.decided, found.winner) == (Conclusion.NOT_SHOWN, True, 0)
    assert found.statement == "No gain over the default was shown: every candidate failed on at least one seed."


def test_when_the_leader_fails_later_the_next_best_catches_up():
    seen = evidence([0.50, 0.52, 0.51], [0.54, 0.51, 0.53], [0.53, 0.51, 0.53]) | {(0, 104): 0.5, (1, 104): NAN}
    assert next_runs(comparison(2), seen) == (Run(2, 104),)


def test_a_seed_on_which_the_baseline_failed_is_replaced():
    seen = evidence([0.50, NAN, 0.51], [0.60, 0.63, 0.61])
    assert next_runs(comparison(1), seen) == (Run(0, 104), Run(1, 104))
    found = verdict(comparison(1), seen | {(0, 104): 0.52, (1, 104): 0.55})
    assert found.seeds == 3
    assert found.gain == pytest.approx((0.10 + 0.10 + 0.03) / 3)
    assert found.statement.endswith("on 3 paired seeds; the baseline failed on 1 more.")


def test_nothing_is_concluded_when_the_baseline_fails_on_three_seeds():
    seen = evidence([NAN, NAN, NAN], [0.60, 0.63, 0.61], [0.70, 0.73, 0.71])
    assert next_runs(comparison(2), seen) == ()
    found = verdict(comparison(2), seen)
    assert (found.conclusion, found.decided, found.winner, found.gain) == (Conclusion.UNKNOWN, True, 2, None)
    assert found.statement.endswith("the baseline failed on 3 of 3 seeds.")


def test_failures_at_random_make_no_claims():
    rng = np.random.default_rng(3)
    claims = 0
    for _ in range(300):
        found, _ = played(comparison(), lambda run: NAN if rng.random() < 0.2 else rng.standard_normal())
        claims += found.conclusion == Conclusion.BETTER
    assert claims / 300 <= 0.04


# Rates


NOISES: Mapping[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails": lambda rng, shape: rng.standard_t(3, shape),
    "a noisy baseline": lambda rng, shape: rng.standard_normal(shape) * np.array([[3.0], *[[1.0]] * (shape[0] - 1)]),
    "every configuration its own": lambda rng, shape: rng.standard_normal(shape) * rng.lognormal(0, 0.5, (shape[0], 1)),
    "one value in twenty far out": lambda rng, shape: (
        rng.standard_normal(shape) * np.where(rng.random(shape) < 0.05, 10, 1)
    ),
    "one run in ten ruined": lambda rng, shape: rng.standard_normal(shape) - 10 * (rng.random(shape) < 0.1),
}


@pytest.mark.parametrize("noise", NOISES)
def test_when_nothing_is_better_at_most_one_search_in_twenty_claims_so(noise):
    """Compare the best three of 60 equal configurations that share seed effects. The intervals contain 0."""
    rng = np.random.default_rng(8)
    searches, claims, missed, flattered = 600, 0, 0, 0
    for _ in range(searches):
        metrics = NOISES[noise](rng, (61, 13)) + 2 * rng.standard_normal(13)
        found, _ = played(after_a_search(metrics), lambda run, metrics=metrics: float(metrics[run]))
        claims += found.conclusion == Conclusion.BETTER
        missed += not found.interval[0] <= 0 <= found.interval[1]
        flattered += metrics[:, 0].argmax() > 0
    assert flattered > 0.7 * searches
    assert claims <= missed <= stats.binom.ppf(0.99, searches, 0.045)


@pytest.mark.parametrize("max_runs", [12, 20])
def test_bad_runs_of_the_candidates_alone_make_no_more_claims(max_runs):
    """Use exponential shortfalls below a ceiling, for which Student's t claims a gain twice as often as it should."""
    rng = np.random.default_rng(8)
    searches, claims = 600, 0
    for _ in range(searches):
        metrics = 10 * (1 - rng.standard_exponential((61, 13)))
        metrics[0] = rng.standard_normal(13)
        found, _ = played(after_a_search(metrics, max_runs=max_runs), lambda run, m=metrics: float(m[run]))
        claims += found.conclusion == Conclusion.BETTER
    assert claims <= stats.binom.ppf(0.99, searches, 0.04)


def test_gains_of_two_standard_deviations_are_shown():
    rng = np.random.default_rng(9)
    claims, runs = 0, []
    for _ in range(200):
        truth = np.array([0.0, *[2.0] * 3, *[0.0] * 20])
        metrics = truth[:, None] + rng.standard_normal((24, 13))
        about = ComparisonPlan(baseline=0, candidates=(1, 2, 3), seeds=tuple(range(1, 13)), max_runs=20)
        found, seen = played(about, lambda run, metrics=metrics: float(metrics[run]))
        claims += found.conclusion == Conclusion.BETTER
        runs.append(len(seen))
    assert claims >= 170
    assert np.mean(runs) < 17


# Properties

METRICS = st.one_of(st.floats(-1, 1, allow_nan=False, width=16), st.just(NAN))


@settings(max_examples=60)
@given(
    candidates=st.integers(1, 4),
    max_runs=st.integers(3, 24),
    seeds=st.integers(2, 8),
    slots=st.integers(1, 9),
    ahead=st.integers(0, 2),
    data=st.data(),
)
def test_any_order_of_ends_stays_within_the_limits_and_reaches_a_verdict(
    candidates, max_runs, seeds, slots, ahead, data
):
    about = comparison(candidates, max_runs=max_runs, seeds=seeds)
    running: list[Run] = []
    seen: dict[tuple[int, int], float] = {}
    for _ in range(100):
        asked = next_runs(about, seen, running=running, ahead=ahead)
        assert not set(asked) & (set(running) | set(seen))
        assert len(asked) + len(running) + len(seen) <= max_runs
        running += asked[: slots - len(running)]
        if not running:
            break
        seen[running.pop(data.draw(st.integers(0, len(running) - 1)))] = data.draw(METRICS)
    found = verdict(about, seen)
    assert found.decided
    assert found.runs == len(seen)
    if found.interval is not None:
        assert (found.conclusion == Conclusion.BETTER) == (found.interval[0] > 0)
        assert found.interval[0] <= found.gain <= found.interval[1]
    if found.conclusion == Conclusion.BETTER:
        assert found.winner == found.leader
        assert all(math.isfinite(metric) for run, metric in seen.items() if run[0] == found.winner)


TABLE = st.lists(st.lists(st.integers(-50, 50), min_size=7, max_size=7), min_size=4, max_size=4)


@settings(max_examples=60)
@given(table=TABLE)
def test_runs_that_were_not_needed_change_nothing(table):
    everything = evidence(*table)
    found, seen = played(comparison(), everything.__getitem__)
    more = verdict(comparison(), everything)
    assert (more.statement, more.winner, more.p_value) == (found.statement, found.winner, found.p_value)
    assert len(seen) <= len(everything)


def result_of(found: Verdict) -> tuple[object, ...]:
    return found.conclusion, found.winner, found.leader, found.seeds


@settings(max_examples=60)
@given(table=TABLE, scale=st.sampled_from([0.125, 4]))
def test_the_unit_of_the_metric_does_not_matter(table, scale):
    found = verdict(comparison(), evidence(*table))
    other = verdict(comparison(), evidence(*[[scale * x for x in row] for row in table]))
    assert result_of(other) == result_of(found)
    assert other.gain == pytest.approx(scale * found.gain)


@settings(max_examples=60)
@given(table=TABLE, effects=st.lists(st.integers(-99, 99), min_size=7, max_size=7))
def test_an_effect_of_a_seed_on_all_does_not_matter_unless_the_noise_is_found_uneven(table, effects):
    about = comparison(max_runs=12)
    found = verdict(about, evidence(*table))
    other = verdict(about, evidence(*[[x + e for x, e in zip(row, effects, strict=True)] for row in table]))
    assert other.gain == pytest.approx(found.gain)
    assert (other.leader, other.winner) == (found.leader, found.winner)
    if ("vary more" in other.statement) == ("vary more" in found.statement):
        assert result_of(other) == result_of(found)
