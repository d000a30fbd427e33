"""Start a study from the results of earlier ones."""

from dataclasses import dataclass, replace

import optuna
import pytest
from optuna.trial import TrialState

from tests.tuner.conftest import driven, play
from tuner.exceptions import UsageError
from tuner.search.search import Search
from tuner.search.warm_start import MOST, Candidate, Clipped, Misfit, Source, fit, source_of
from tuner.search.warm_start import warm_start as warm_start_of
from tuner.space import parse_space
from tuner.storage.database import existing_storage
from tuner.study import StoredStudy, TrialRecord


@dataclass
class Earlier:
    """Ended study, given by the values of its parameter `lr0`."""

    name: str
    values: dict[float, float | None]

    def trials(self):
        return tuple(
            TrialRecord(
                number=number,
                state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
                value=value,
                curve={},
                sampled={"lr0 [optimizer=SGD]": lr0},
                params={"lr0": lr0, "optimizer": "SGD"},
                reason="",
            )
            for number, (lr0, value) in enumerate(self.values.items())
        )


def rates(starts):
    return [start.configuration["lr0"] for start in starts]


def warm_start(space, studies):
    return warm_start_of(space, [source_of(study) for study in studies])


def test_the_best_complete_trials_come_first(space):
    earlier = Earlier("e", {0.02: 0.1, 0.03: 0.3, 0.04: None, 0.05: 0.2})
    assert rates(warm_start(space, [earlier])) == [0.03, 0.05, 0.02]


def test_the_best_of_each_study_come_before_the_second_of_any(space):
    studies = [Earlier("a", {0.02: 0.9, 0.03: 0.8}), Earlier("b", {0.04: 0.2, 0.05: 0.1})]
    assert rates(warm_start(space, studies)) == [0.02, 0.04, 0.03, 0.05]


def test_the_baseline_and_duplicates_are_left_out(space):
    studies = [Earlier("a", {0.01: 0.9, 0.03: 0.8}), Earlier("b", {0.03: 0.2})]
    assert rates(warm_start(space, studies)) == [0.03]


def test_the_number_of_configurations_is_limited(space):
    earlier = Earlier("e", {0.01 + 0.001 * i: 1 - i / 100 for i in range(20)})
    assert rates(warm_start(space, [earlier])) == pytest.approx([0.011, 0.012, 0.013, 0.014, 0.015])
    assert MOST == 5


def test_a_study_without_full_runs_yields_nothing(space):
    rule = r"--warm-start takes studies with complete trials, but 'e' has none; continue it first"
    with pytest.raises(UsageError, match=rule):
        warm_start(space, [Earlier("e", {0.02: None})])


def test_a_study_of_another_kind_yields_nothing():
    other = parse_space(
        "parameters: {optimizer: {choice: [Adam, AdamW]}}\nbaseline: {optimizer: Adam}", name="other", file=""
    )
    with pytest.raises(
        UsageError, match=r"none of 'e' fits into the space 'other': `optimizer` 'SGD' is not one of Adam, AdamW"
    ):
        warm_start(other, [Earlier("e", {0.02: 0.5})])


def test_a_value_outside_its_range_is_clipped_and_noted(space):
    start = fit(space, Candidate(values={"lr0": 2.0, "momentum": 0.9}))
    assert start.configuration == {"lr0": 1.0}
    assert start.clipped == (Clipped(name="lr0", given=2.0, taken=1.0),)


def test_a_configuration_that_does_not_fit_is_left_out_with_a_reason_and_the_others_stay(space):
    source = Source(name="f", ranked=(Candidate(values={"lr0": "much"}), Candidate(values={"lr0": 0.5})))
    assert rates(warm_start_of(space, [source])) == [0.5]
    assert isinstance(misfit := fit(space, source.ranked[0]), Misfit)
    assert misfit.reason.startswith("`lr0` 'much' is not a number")


def tried(search, number):
    """Return the learning rates of the next trials."""
    requests = []
    for _ in range(number):
        requests.append(search.suggest())
        play(search, requests[-1], 0.1, 0.2)
    return [request.params["lr0"] for request in requests]


@pytest.fixture
def warm_spec(spec):
    return replace(spec, warm_start=({"lr0": 0.02}, {"lr0": 0.03}))


def test_a_warm_start_is_tried_right_after_the_baseline(url, warm_spec, paths, space, terms):
    with driven(url, warm_spec, paths) as study:
        first = tried(Search(study, space, paths, terms), 4)
    assert first[:3] == [0.01, 0.02, 0.03]
    assert first[3] not in first[:3]


def test_a_driver_that_takes_over_tries_the_rest_of_a_warm_start_once(url, warm_spec, paths, space, terms):
    with driven(url, warm_spec, paths) as study:
        tried(Search(study, space, paths, terms), 2)
    with driven(url, None, paths) as study:
        assert study.spec.warm_start == ({"lr0": 0.02}, {"lr0": 0.03})
        rest = tried(Search(study, space, paths, terms), 2)
    assert rest[0] == 0.03
    assert rest[1] not in (0.01, 0.02, 0.03)


def test_a_study_that_predates_warm_starts_is_read(url, spec, paths):
    with driven(url, spec, paths):
        pass
    with existing_storage(url) as storage:
        study = optuna.load_study(storage=storage, study_name="s")
        study.set_user_attr(
            "spec", {name: part for name, part in study.user_attrs["spec"].items() if name != "warm_start"}
        )
    assert StoredStudy.open(url, "s").spec.warm_start == ()


def test_connections_to_a_read_study_are_released(url, spec, paths, space):
    with driven(url, spec, paths):
        pass
    study = StoredStudy.open(url, "s")
    study.close()
    assert study.trials() == ()  # a new query connects again
