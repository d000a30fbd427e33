"""Find problems of learning, and never call a healthy run sick."""

import math
import random

import pytest

from tests.tuner.diagnosis.conftest import decaying, straight
from tuner.diagnosis import Condition, diagnose
from tuner.diagnosis.divergence import diverged
from tuner.diagnosis.learning import loss_not_falling, not_learning, oscillating, plateau
from tuner.diagnosis.overfitting import overfitting

HEALTHY = ["healthy", "healthy-sgd-short", "fine-tuned"]
SICK = {
    "lr-too-high": Condition.DIVERGED,
    "lr-high-sgd": Condition.DIVERGED,
    "lr-too-low": Condition.LOSS_NOT_FALLING,
    "labels-shuffled": Condition.LOSS_NOT_FALLING,
    "tiny-overfits": Condition.OVERFITTING,
    "fine-tuned-overfits": Condition.OVERFITTING,
}
ZEROS = [0.0] * 300


# Recorded runs


@pytest.mark.parametrize("name", SICK)
def test_the_cause_of_a_deliberately_failed_recorded_run_is_found(recorded, name):
    assert diagnose(recorded(name)).condition is SICK[name]


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("planned", ["its own", "as far as it is", 300, None])
def test_a_healthy_recorded_run_is_never_called_sick_at_any_epoch_of_any_plan(recorded, name, planned):
    whole = recorded(name)
    for epochs in range(1, len(whole.epochs) + 1):
        plan = {"its own": whole.planned_epochs, "as far as it is": epochs}.get(planned, planned)
        found = diagnose(recorded(name, epochs, planned_epochs=plan))
        assert found.condition is (Condition.NORMAL if epochs >= 13 else Condition.TOO_EARLY)
        assert (found.findings, dict(found.changes)) == ((), {})


@pytest.mark.parametrize(("name", "by"), [("lr-too-high", 3), ("lr-high-sgd", 5), ("lr-too-low", 13)])
def test_a_wrong_learning_rate_is_reported_early_and_from_then_on(recorded, name, by):
    whole = recorded(name)
    for epochs in range(by, len(whole.epochs) + 1):
        assert diagnose(recorded(name, epochs)).condition is SICK[name]


# Diverged [guide 27]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_a_number_is_divergence(run, bad):
    found = diverged(run([3.0, 2.5, bad, bad], params={"optimizer": "SGD", "lr0": 0.5}))
    assert found.epochs == (3, 4)
    assert dict(found.changes) == {"lr0": 0.01, "warmup_epochs": 5}


def test_a_run_that_finds_objects_after_an_epoch_of_nan_has_come_back(run):
    losses, rising = [3.0, math.nan, *decaying(2.8, 1.0, 20)], straight(0.0, 0.3, 22)
    assert diverged(run(losses, map50=rising)) is None
    assert diverged(run(losses, map50=ZEROS)).epochs == (2, 2)
    assert diverged(run([*losses, math.nan], map50=[*rising, 0.0])).epochs == (2, 23)


def test_a_loss_that_stays_above_its_first_is_divergence(run):
    assert diverged(run([3.0, 2.8, 40.0, 45.0, 50.0])).epochs == (3, 5)


@pytest.mark.parametrize(
    "losses",
    [
        [3.0, 2.8, 40.0, 2.7, 2.6, 2.5],  # one epoch: it came back
        [3.0, 3.9, 4.2, 4.1, 3.8, 3.0],  # the warm-up of a fine-tuned model
        [3.0, 9.0],
        decaying(6.0, 1.0, 60),
    ],
)
def test_a_loss_that_recovers_is_no_divergence(run, losses):
    assert diverged(run(losses)) is None


def test_a_validation_loss_that_explodes_for_an_epoch_is_no_divergence(run):
    losses = decaying(6.0, 2.0, 20)
    assert diverged(run(losses, val=[*losses[:7], 1e9, 4816.0, 200.0, *losses[10:]])) is None


def test_a_run_that_finds_objects_has_come_back_from_an_exploded_validation_loss(run):
    losses = decaying(6.0, 2.0, 20)
    exploded = [1e9] * 4 + losses[4:]
    assert diverged(run(losses, val=exploded, map50=ZEROS)) is not None
    assert diverged(run(losses, val=exploded, map50=straight(0.0, 0.4, 20))) is None


# Oscillating [guide 21]


@pytest.mark.parametrize(
    "losses",
    [
        [3.0, 2.0] * 10,
        [4.0, *([2.0, 3.5, 2.5, 3.0] * 5)],
        [loss * (1.3 if i % 2 else 0.8) for i, loss in enumerate(decaying(5.0, 2.0, 30))],
    ],
)
def test_a_loss_that_goes_up_and_down_oscillates(run, losses):
    found = oscillating(run(losses, params={"optimizer": "SGD", "lr0": 0.5}))
    assert dict(found.changes) == {"lr0": 0.01}


@pytest.mark.parametrize(
    "losses",
    [
        [loss * random.Random(i).uniform(0.96, 1.04) for i, loss in enumerate(decaying(5.0, 1.0, 40))],
        [*decaying(5.0, 2.0, 15), *decaying(3.5, 1.5, 15)],  # a resume with other augmentation: one step
        [3.0, 2.0] * 4,  # too few
        [2.0, 2.0, 2.0, 6.0, 2.0, *([2.0] * 20)],  # one odd epoch
    ],
)
def test_noise_a_step_and_an_odd_epoch_are_no_oscillation(run, losses):
    assert oscillating(run(losses)) is None


def test_a_low_learning_rate_is_not_lowered(run):
    found = oscillating(run([3.0, 2.0] * 10, params={"optimizer": "AdamW", "lr0": 0.0001}))
    assert dict(found.changes) == {}
    assert "batch" in found.advice


# Loss not falling [guide 26]


@pytest.mark.parametrize(
    "losses",
    [
        [2.5] * 100,
        [*decaying(4.0, 2.5, 100), *straight(2.5, 2.3, 50)],  # the guide's
        straight(6.0, 5.7, 40),
    ],
)
def test_a_loss_that_stays_where_it_is_does_not_fall(run, losses):
    found = loss_not_falling(run(losses, map50=ZEROS, planned=300, params={"optimizer": "SGD", "lr0": 0.001}))
    assert dict(found.changes) == {"lr0": 0.01}


@pytest.mark.parametrize(
    ("losses", "map50"),
    [
        (decaying(5.0, 1.0, 150), ZEROS),
        (straight(1.0, 0.95, 150), straight(0.5, 0.52, 150)),  # fine-tuned: it was low from the start
        (straight(6.0, 5.9, 10), ZEROS),  # too early
        ([*decaying(6.0, 2.5, 30), *([2.5] * 20)], ZEROS),  # the guide's first phase
        ([*decaying(6.0, 1.2, 100), *([1.2] * 100)], ZEROS),  # it has fallen: something else is wrong
    ],
)
def test_a_loss_that_has_fallen_or_has_yet_to_fall_is_not_stuck(run, losses, map50):
    assert loss_not_falling(run(losses, map50=map50, planned=300)) is None


@pytest.mark.parametrize("warm_up", [-10.0, -1e9, 0.0])
@pytest.mark.parametrize("losses", [(), (1.0,)])
def test_a_negative_warm_up_counts_as_none_and_allows_no_shorter_curve(run, losses, warm_up):
    assert loss_not_falling(run(losses, map50=(0.0, 0.0), params={"warmup_epochs": warm_up})) is None
    assert run(losses, params={"warmup_epochs": warm_up}).warm_up_epochs == 0


def test_a_usual_learning_rate_is_kept_and_augmentation_weakened(run):
    params = {"optimizer": "SGD", "lr0": 0.01, "mosaic": 1.0, "mixup": 0.15}
    found = loss_not_falling(run([2.5] * 100, map50=ZEROS, params=params))
    assert dict(found.changes) == {"mosaic": 0.5, "mixup": 0.0}
    assert found.advice.startswith("check the labels first")


# Overfitting [guide 28]


def test_a_validation_loss_that_rises_while_the_training_loss_falls_is_overfitting(run):
    val = [*straight(4.0, 2.0, 20), *straight(2.0, 3.0, 40)]
    found = overfitting(run(straight(4.0, 0.5, 60), val=val, map5095=[0.2] * 60))
    assert 15 <= found.epochs[0] <= 25
    assert found.changes["weight_decay"] == 0.001
    assert found.changes["patience"] == 30


def test_a_validation_loss_of_four_times_the_training_loss_is_overfitting(run):
    assert overfitting(run(decaying(4.0, 0.5, 100), val=[2.0] * 100)) is not None  # the guide's 0.5 and 2.0


def test_a_metric_that_falls_too_is_overfitting(run):
    val = [*straight(4.0, 2.0, 20), *straight(2.0, 2.6, 40)]
    fallen = [*straight(0.0, 0.3, 20), *straight(0.3, 0.2, 40)]
    assert overfitting(run(straight(4.0, 0.5, 60), val=val, map5095=fallen)) is not None


def test_map_that_falls_far_while_the_training_loss_falls_is_overfitting_whatever_else_is_known(run):
    fallen = [*straight(0.0, 0.3, 20), *straight(0.3, 0.15, 40)]
    assert 15 <= overfitting(run(straight(4.0, 0.5, 60), map5095=fallen)).epochs[0] <= 25


@pytest.mark.parametrize(
    ("train", "val", "metrics"),
    [
        (straight(4.0, 1.0, 60), straight(4.0, 1.2, 60), {}),
        # Many a good run ends with a slowly rising validation loss while mAP still grows.
        (straight(4.0, 0.5, 60), [*straight(4.0, 2.0, 20), *straight(2.0, 2.4, 40)], {"map5095": straight(0, 0.5, 60)}),
        (decaying(4.0, 0.5, 100), [2.0] * 100, {"map50": straight(0, 0.75, 100)}),  # the result is good
        ([*straight(4.0, 2.0, 50), *([1.5] * 10)], straight(4.0, 2.2, 60), {}),  # the last epochs without mosaic
        (straight(4.0, 0.5, 12), [3.0] * 12, {}),  # too early
        ([2.0] * 60, [2.0 + 0.3 * (i % 2) for i in range(60)], {}),  # few images to validate on
        (straight(4.0, 0.5, 60), (), {}),
        (straight(4.0, 0.5, 60), (), {"map5095": [*straight(0, 0.3, 20), *straight(0.3, 0.26, 40)]}),
        (
            straight(4.0, 0.5, 60),
            (),
            {"map5095": [*straight(0, 0.3, 20), 0.1, 0.1, *straight(0.2, 0.3, 38)]},
        ),  # it has recovered
        (straight(4.0, 0.5, 60), (), {"map5095": [*straight(0, 0.05, 20), *([0.01] * 40)]}),  # chance
    ],
)
def test_a_harmless_gap_is_not_overfitting(run, train, val, metrics):
    assert overfitting(run(train, val=val, **metrics)) is None


# Not learning [guide 15]


@pytest.mark.parametrize("epochs", [100, 200, 300])
def test_zero_map_after_the_guides_hundred_epochs_is_not_learning(run, epochs):
    found = not_learning(run(decaying(5.0, 1.0, epochs), map50=ZEROS, planned=300))
    assert "labels" in found.advice
    assert dict(found.changes) == {}


def test_a_short_run_from_scratch_without_map_should_train_longer(run):
    found = not_learning(run(decaying(5.0, 1.0, 20), map50=ZEROS, planned=20, from_scratch=True))
    assert dict(found.changes) == {"epochs": 300}


@pytest.mark.parametrize(
    ("epochs", "map50", "planned"),
    [(80, ZEROS, 300), (20, ZEROS, 100), (5, ZEROS, 5), (150, straight(0.0, 0.3, 150), 300), (150, (), 300)],
)
def test_map_that_rises_or_may_yet_rise_is_learning(run, epochs, map50, planned):
    assert not_learning(run(decaying(5.0, 1.0, epochs), map50=map50, planned=planned)) is None


# Plateau [guide 30]

STUCK = [*straight(0.0, 0.45, 200), *straight(0.45, 0.46, 100)]


def test_a_metric_stuck_below_the_targets_is_a_plateau(run):
    params = {"optimizer": "SGD", "lr0": 0.01}
    found = plateau(
        run(decaying(5.0, 1.0, 300), map50=STUCK, map5095=[v / 2 for v in STUCK], planned=300, params=params)
    )
    assert found.epochs == (200, 300)
    assert dict(found.changes) == {"optimizer": "AdamW", "lr0": 0.001}


def test_a_plateau_is_left_by_a_warm_restart_if_the_best_checkpoint_exists(run):
    halves = [v / 2 for v in STUCK]
    found = plateau(run(decaying(5.0, 1.0, 300), map50=STUCK, map5095=halves, best_weights="/w/best.pt"))
    assert (found.changes["model"], found.changes["lr0"], found.changes["epochs"]) == ("/w/best.pt", 0.005, 50)


def test_a_noisy_plateau_is_a_plateau(run):
    noisy = [v / 2 + random.Random(i).uniform(-0.005, 0.005) for i, v in enumerate(STUCK)]
    assert plateau(run(decaying(5.0, 1.0, 300), map50=STUCK, map5095=noisy, planned=300)) is not None


@pytest.mark.parametrize(
    ("map50", "planned"),
    [
        (straight(0.0, 0.5, 300), 300),  # still rising
        ([*straight(0.0, 0.75, 200), *([0.75] * 100)], 300),  # arrived
        (STUCK[:150], 300),  # the guide judges from epoch 200 on
        ([*straight(0.0, 0.45, 20), *([0.45] * 10)], 30),  # too few
        (ZEROS, 300),  # for another rule
    ],
)
def test_a_curve_that_rises_has_arrived_or_is_short_is_no_plateau(run, map50, planned):
    losses = decaying(5.0, 1.0, len(map50))
    assert plateau(run(losses, map50=map50, map5095=[v / 2 for v in map50], planned=planned)) is None


# Several rules


def test_the_cause_that_explains_the_others_is_reported(run):
    found = diagnose(run([3.0, math.nan, *([2.5] * 100)], map50=ZEROS, val=[9.0] * 102))
    assert [finding.condition for finding in found.findings] == [Condition.DIVERGED]
