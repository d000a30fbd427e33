"""Compute changes from the run's own arguments, and propose none that would have no effect."""

import pytest

from tuner.diagnosis import remedies


@pytest.mark.parametrize(
    ("optimizer", "lr0", "lower"),
    [
        ("SGD", 1.0, {"lr0": 0.01}),
        ("SGD", 0.05, {"lr0": 0.005}),
        ("SGD", 0.005, {"lr0": 0.001}),
        ("SGD", 0.001, {}),
        ("AdamW", 0.1, {"lr0": 0.001}),
        ("adamw", 0.0005, {"lr0": 0.0001}),
        ("AdamW", 0.00005, {}),
        ("auto", 0.01, {"optimizer": "SGD", "lr0": 0.001}),  # which ignores lr0
    ],
)
def test_a_lower_learning_rate_is_a_tenth_between_the_usual_one_and_the_least(run, optimizer, lr0, lower):
    assert remedies.lower_lr0(run([3.0], params={"optimizer": optimizer, "lr0": lr0})) == lower


@pytest.mark.parametrize(
    ("optimizer", "lr0", "higher"),
    [
        ("SGD", 0.001, {"lr0": 0.01}),
        ("SGD", 0.00001, {"lr0": 0.01}),
        ("SGD", 0.005, {}),
        ("AdamW", 0.00001, {"lr0": 0.001}),
        ("AdamW", 0.001, {}),
        ("auto", 0.0001, {}),
    ],
)
def test_a_learning_rate_that_is_too_low_is_raised_to_the_usual_one(run, optimizer, lr0, higher):
    assert remedies.higher_lr0(run([3.0], params={"optimizer": optimizer, "lr0": lr0})) == higher


@pytest.mark.parametrize(
    ("warm_up", "planned", "longer"),
    [(3.0, 300, {"warmup_epochs": 5}), (0.0, 20, {"warmup_epochs": 3}), (1.0, 6, {}), (5, 300, {}), (3.0, 20, {})],
)
def test_a_warm_up_is_lengthened_to_at_most_a_sixth_of_the_plan(run, warm_up, planned, longer):
    assert remedies.longer_warm_up(run([3.0], planned=planned, params={"warmup_epochs": warm_up})) == longer


def test_an_argument_that_is_already_as_strong_stays_as_it_is(run):
    strongest = {"weight_decay": 0.01, "hsv_h": 0.5, "degrees": 20.0, "mixup": 0.5, "patience": 20}
    changes = remedies.stronger_regularisation(run([3.0], params=strongest))
    assert not changes.keys() & strongest.keys()
    assert changes["hsv_s"] == 0.9


def test_no_remedy_without_effect_on_a_detector_is_proposed(run):
    changes = remedies.stronger_regularisation(run([3.0]))
    assert not changes.keys() & {"dropout", "copy_paste", "erasing", "auto_augment"}


def test_unlimited_patience_is_too_much(run):
    assert remedies.stronger_regularisation(run([3.0], params={"patience": 0}))["patience"] == 30


def test_arguments_that_already_load_fast_stay_as_they_are(run):
    assert remedies.faster_loading(run([3.0], params={"amp": True, "cache": "ram", "workers": 16})) == {}
