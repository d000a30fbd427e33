"""Choose the configuration of a new trial."""

import optuna
import pytest

from tests.tuner.conftest import driven, play, stored
from tuner.exceptions import MachineError
from tuner.search import samplers
from tuner.search.search import Search


def test_a_sampler_whose_package_is_missing_is_refused_before_the_baseline_trains(
    study, space, paths, terms, monkeypatch
):
    monkeypatch.setattr(samplers, "_PACKAGES", {"random": ("no_such_package",)})
    search = Search(study, space, paths, terms)
    with pytest.raises(MachineError, match="no_such_package"):
        search.suggest()
    assert search.trials == ()


@pytest.mark.parametrize("strategy", ["asha-stopping", "auto"])
def test_a_trial_that_a_user_enqueued_comes_before_any_proposal(url, spec, paths, space, terms, strategy):
    space = space.with_settings(strategy=strategy, sampler="auto")
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        play(search, search.suggest(), 0.1, 0.25)
    optuna.load_study(storage=url, study_name="s").enqueue_trial({"lr0": 0.5})
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        assert search.suggest().params["lr0"] == 0.5
        assert search.suggest().params["lr0"] != 0.5


@pytest.mark.parametrize("strategy", ["asha-stopping", "auto"])
def test_a_given_or_modelled_configuration_is_added_and_not_enqueued(url, spec, paths, space, terms, strategy):
    space = space.with_settings(strategy=strategy, sampler="auto")
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        requests = [search.suggest() for _ in range(3)]
        study.flush(10)
    trials = stored(url)
    assert [trial.params["lr0"] for trial in trials] == [request.params["lr0"] for request in requests]
    assert [trial.user_attrs["params"] for trial in trials] == [request.params for request in requests]
    assert [dict(trial.system_attrs) for trial in trials] == [{}] * 3
    assert requests[0].params["lr0"] == 0.01
