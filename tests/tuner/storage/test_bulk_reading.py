"""Compare trials that are read in bulk with those that Optuna reads."""

import json
import math
import random

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage, get_storage
from optuna.trial import TrialState, create_trial

from tuner.storage.bulk_reading import _MOST_NAMED, BulkReadingStorage, _decoded, names_with, read_study

DISTRIBUTIONS = {
    "lr0": FloatDistribution(1e-5, 0.1, log=True),
    "batch": CategoricalDistribution([16, 32, 64]),
    "optimizer": CategoricalDistribution(["SGD", "AdamW"]),
    "cos_lr": CategoricalDistribution([True, False, None]),
    "close_mosaic": IntDistribution(0, 15),
}
ODD = [0.0, -0.0, 1e-300, math.inf, -math.inf, math.nan]


def add_trials(study, number, seed=0):
    rng = random.Random(seed)
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.WAITING, TrialState.RUNNING]
    for _ in range(number):
        state = rng.choice(states)
        params = {} if state == TrialState.WAITING else suggested(rng)
        trial = create_trial(
            state=state,
            values=[rng.choice([rng.random(), math.inf, -math.inf])] if state == TrialState.COMPLETE else None,
            params=params,
            distributions={name: DISTRIBUTIONS[name] for name in params},
            intermediate_values={epoch: rng.choice([rng.random(), *ODD]) for epoch in rng.sample(range(1, 60), 4)},
            user_attrs={"params": {**params, "é": "ü\n"}, "none": None, "list": [1, [2.5, "x"]]} if params else {},
            system_attrs={"fixed_params": {"lr0": 0.01}} if rng.random() < 0.3 else {},
        )
        study.add_trial(trial)


def suggested(rng):
    names = rng.sample(list(DISTRIBUTIONS), rng.randrange(1, len(DISTRIBUTIONS) + 1))
    values = {
        "lr0": rng.choice([1e-5, 0.1, 0.0123456789012345]),
        "batch": rng.choice([16, 32, 64]),
        "optimizer": rng.choice(["SGD", "AdamW"]),
        "cos_lr": rng.choice([True, False, None]),
        "close_mosaic": rng.randrange(16),
    }
    return {name: values[name] for name in names}


def told(trials):
    """Return everything in a trial as text, in which NaN equals itself, with the order of its parameters."""
    parts = ("intermediate_values", "user_attrs", "system_attrs", "distributions")
    return [
        repr(
            (
                *(t._trial_id, t.number, t.state, t.values, t.datetime_start, t.datetime_complete, t.params),
                *(sorted(getattr(t, part).items()) for part in parts),
            )
        )
        for t in trials
    ]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request, tmp_path_factory):
    """Create a database with three studies. The middle one has trials of all kinds."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    else:
        url = f"sqlite:///{tmp_path_factory.mktemp('bulk')}/s.db"
    storage = RDBStorage(url)
    for name in ("one", "mine", "other"):
        add_trials(optuna.create_study(study_name=name, storage=storage), 40 if name == "mine" else 3)
    return url


@pytest.fixture
def both(url):
    """Return Optuna's storage and ours, and the id of the study."""
    stock = RDBStorage(url)
    return stock, BulkReadingStorage(url), stock.get_study_id_from_name("mine")


def test_all_trials_are_those_that_optuna_reads(both):
    stock, ours, study = both
    assert told(ours.get_all_trials(study)) == told(stock.get_all_trials(study))
    some = (TrialState.COMPLETE, TrialState.WAITING)
    assert told(ours.get_all_trials(study, states=some)) == told(stock.get_all_trials(study, states=some))


@pytest.mark.parametrize("most_named", [2, _MOST_NAMED])
def test_changed_trials_are_those_that_optuna_reads(both, monkeypatch, most_named):
    monkeypatch.setattr("tuner.storage.bulk_reading._MOST_NAMED", most_named)
    stock, ours, study = both
    ids = [trial._trial_id for trial in stock.get_all_trials(study)]
    for named, above in [(set(), ids[-5]), ({ids[3], ids[7], ids[11]}, ids[30]), ({ids[35]}, ids[30]), (set(), -1)]:
        wanted = stock._get_trials(study, None, set(named), above)
        assert told(ours._get_trials(study, None, set(named), above)) == told(wanted)


def test_a_study_that_was_read_before_shows_what_was_written_since(both):
    stock, ours, _ = both
    reading, writing = (optuna.load_study(study_name="mine", storage=storage) for storage in (ours, stock))
    assert told(reading.trials) == told(writing.trials)
    add_trials(writing, 3, seed=1)
    running = next(trial for trial in writing.trials if trial.state == TrialState.RUNNING)
    stock.set_trial_intermediate_value(running._trial_id, 99, math.nan)
    assert told(reading.trials) == told(optuna.load_study(study_name="mine", storage=stock).trials)


def test_a_study_without_trials_has_none_and_an_unknown_one_is_an_error(both):
    stock, ours, _ = both
    empty = optuna.create_study(storage=stock).study_name
    assert ours.get_all_trials(stock.get_study_id_from_name(empty)) == []
    with pytest.raises(KeyError):
        ours.get_all_trials(999)


def test_a_change_to_what_was_read_does_not_change_the_next_reading(both):
    _, ours, study = both
    first = ours.get_all_trials(study)
    first[0].user_attrs["added"] = first[0].system_attrs["added"] = 1
    assert all("added" not in trial.user_attrs for trial in ours.get_all_trials(study))


def test_opening_a_storage_returns_ours(tmp_path):
    from tuner.storage.database import open_storage

    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    assert isinstance(storage, BulkReadingStorage)
    assert get_storage(storage)._backend is storage, "Optuna wraps it in its cache"


def test_a_study_and_its_attributes_are_those_that_optuna_reads(both):
    stock, ours, study = both
    stock.set_study_user_attr(study, "note", {"é": [1, None]})
    with ours.engine.connect() as connection:
        found = read_study(connection, "mine")
        assert read_study(connection, "none") is None
        assert names_with(connection, "note") == {"mine"}
    assert found.study_id == study
    assert list(found.directions) == stock.get_study_directions(study)
    assert found.user_attributes == stock.get_study_user_attrs(study)
    assert found.system_attributes == stock.get_study_system_attrs(study)


@pytest.mark.parametrize("text", ["1", '"é \\u2028"', "[NaN, -Infinity, 1e400]", " 1 ", '{"a": {"b": null}}', "1.0\n"])
def test_a_json_text_is_read_as_the_json_module_reads_it(text):
    assert repr(_decoded(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["", " ", "1 2", "[1", '"a', "nul", "{'a': 1}", "1]"])
def test_invalid_json_is_an_error(text):
    with pytest.raises(json.JSONDecodeError):
        _decoded(text)
