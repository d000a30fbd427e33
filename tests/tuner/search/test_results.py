"""Judge the results of a search as a whole."""

import pytest
from optuna.trial import TrialState

from tuner.search.results import configurations, found_ceiling, highest_possible, nothing_learnt
from tuner.study import TrialRecord

METRIC = "mAP50-95"


def trials(*values, lr0=None, **others):
    """Make complete trials with these values, each with its own lr0 unless it is given."""
    return [trial(n, value, lr0=n if lr0 is None else lr0, **others) for n, value in enumerate(values)]


def trial(number, value, *, lr0, state=TrialState.COMPLETE, curve=None, reason=""):
    return TrialRecord(
        number=number,
        state=state,
        value=value,
        curve={9: value} if curve is None else curve,
        sampled={"lr0": lr0},
        params={"lr0": lr0, "batch": 16},
        reason=reason,
    )


@pytest.mark.parametrize("values", [[0.0], [0.0] * 6, [0.0] * 1000, [0.0, 0.00003, 0.00001]])
def test_nothing_was_learnt_if_the_best_value_is_zero_for_any_number_of_trials(values):
    said = nothing_learnt(trials(*values), METRIC)
    assert f"best {METRIC} of the {len(values) if len(values) > 1 else 'only'} complete trial" in said
    assert "labels that are not found" in said
    assert "too few epochs" in said


@pytest.mark.parametrize(("metric", "value"), [(METRIC, 0.354), ("mAP50", 0.0001), ("precision", 0.995)])
@pytest.mark.parametrize("number", [2, 9, 40])
def test_nothing_was_learnt_if_all_configurations_have_one_value(metric, value, number):
    said = nothing_learnt(trials(*[value] * number), metric)
    assert said.startswith(f"{number} different configurations all have the same {metric}, {value:.4g}; likely causes")
    assert "does not depend on the searched parameters" in said
    assert "labels that are not found" not in said


def test_one_configuration_may_have_one_value_however_often_it_is_tried():
    assert nothing_learnt(trials(0.3), METRIC) is None
    assert nothing_learnt(trials(*[0.3] * 5, lr0=0.01), METRIC) is None
    assert configurations(trials(*[0.3] * 5, lr0=0.01)) == 1


@pytest.mark.parametrize(
    "other",
    [
        trial(9, 0.31, lr0=9),
        trial(9, None, lr0=9, state=TrialState.PRUNED, curve={9: 0.1}),
        trial(9, None, lr0=9, state=TrialState.FAIL, curve={9: 0.1}, reason="error: disk"),
        trial(9, None, lr0=9, state=TrialState.PRUNED, curve={}, reason="diverged: the loss became NaN"),
    ],
    ids=["complete", "stopped early", "failed later", "diverged"],
)
def test_one_trial_that_differs_shows_that_parameters_have_an_effect(other):
    assert nothing_learnt([*trials(*[0.3] * 9), other], METRIC) is None


@pytest.mark.parametrize(("metric", "value"), [(METRIC, 0.995), ("mAP50", 0.995), ("recall", 1.0), (METRIC, 1.0)])
def test_the_ceiling_does_not_mean_that_nothing_was_learnt(metric, value):
    assert nothing_learnt(trials(*[value] * 12), metric) is None
    said = found_ceiling(trials(*[value] * 12), metric, enough=10)
    assert said.startswith(f"12 trials have the highest possible {metric}")


@pytest.mark.parametrize("values", [[0.995] * 9, [0.99] * 1000, [0.9, 0.8] * 500], ids=["nine", "below", "others"])
def test_a_value_that_many_share_is_no_ceiling_unless_nothing_can_be_higher(values):
    assert found_ceiling(trials(*values), METRIC, enough=10) is None


def test_the_highest_possible_value_is_that_of_ultralytics():
    metrics = pytest.importorskip("ultralytics.utils.metrics")
    perfect, *_ = metrics.compute_ap([0.25, 0.5, 0.75, 1.0], [1.0] * 4)
    assert perfect == pytest.approx(highest_possible("mAP50"), abs=1e-6)
    assert highest_possible("recall") == 1.0
