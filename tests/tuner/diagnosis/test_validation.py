"""Tell failed validation from divergence, and report values that are not numbers for a while."""

import math

import pytest

from tests.tuner.diagnosis.conftest import columns, decaying, straight
from tuner.diagnosis import Condition, diagnose
from tuner.diagnosis.divergence import diverged
from tuner.report.diagnosis import diagnosis_lines

NAMES = columns(("box", "cls", "dfl"))
METRICS = [name for name in NAMES if name.startswith("metrics/")]
LOSSES, RISING, ZEROS = decaying(5.0, 1.0, 60), straight(0.0, 0.5, 60), [0.0] * 60
INF, NAN = math.inf, math.nan


@pytest.mark.parametrize("bad", [INF, NAN, -INF])
@pytest.mark.parametrize("since", [0, 5, 40, 57])
def test_a_validation_loss_that_overflows_while_objects_are_found_is_no_divergence(run, bad, since):
    found = diagnose(run(LOSSES, val=[*LOSSES[:since], *[bad] * (60 - since)], map50=RISING, map5095=RISING))
    assert [finding.condition for finding in found.findings] == [Condition.VALIDATION_OVERFLOW]
    assert found.findings[0].epochs == (since + 1, 60)
    assert dict(found.changes) == {}
    assert found.findings[0].advice.startswith("keep the learning rate")
    assert found.learning in {Condition.NORMAL, Condition.NOT_JUDGED}


def test_a_single_part_of_the_validation_loss_that_overflows_is_named(written):
    found = diagnose(written(NAMES, changed={"val/cls_loss": lambda _: "inf"}))
    assert found.condition is Condition.VALIDATION_OVERFLOW
    assert found.findings[0].evidence.startswith(
        "val cls loss NaN or infinite in 60 of 60 validated epochs, where mAP50"
    )
    assert found.unknown == ("the validation loss: it is NaN or infinite, so only mAP can show overfitting",)
    assert not any(line.startswith("NORMAL") for line in diagnosis_lines(found))


@pytest.mark.parametrize("arguments", ["amp: false\n", "device: cpu\n"])
def test_half_precision_is_not_blamed_if_it_is_off(written, arguments):
    found = diagnose(written(NAMES, changed={"val/cls_loss": lambda _: "inf"}, arguments=arguments))
    assert "labels of the validation split" in found.findings[0].advice


@pytest.mark.parametrize("epochs", [range(1, 6), range(7, 8), range(20, 30)])
def test_a_validation_loss_that_becomes_a_number_again_is_reported_in_a_note(written, epochs):
    found = diagnose(written(NAMES, changed={"val/cls_loss": lambda epoch: "inf" if epoch in epochs else None}))
    assert (found.condition, found.findings) == (Condition.NORMAL, ())
    where = f"epochs {epochs[0]} to {epochs[-1]}" if len(epochs) > 1 else f"epoch {epochs[0]}"
    assert found.notes == (f"a validation loss is NaN or infinite in {where}, while the training losses are finite",)


def test_a_single_nan_training_loss_that_recovers_is_reported_in_a_note(written):
    found = diagnose(written(NAMES, changed={"train/cls_loss": lambda epoch: "nan" if epoch == 30 else None}))
    assert found.condition is Condition.NORMAL
    assert found.notes == ("a training loss is NaN or infinite in epoch 30, but the run has recovered since",)


@pytest.mark.parametrize(
    ("map50", "recovered"),
    [
        ([0.001, 0.002, 0.002, *straight(0.01, 0.06, 27)], True),  # hard data: more than ever before
        ([0.05] * 3 + [0.0] * 27, False),
        ([0.001] * 30, False),
    ],
)
def test_a_run_on_hard_data_has_recovered_once_it_finds_more_than_before(run, map50, recovered):
    losses = [5.0, 4.5, NAN, *decaying(4.5, 2.0, 27)]
    assert (diverged(run(losses, map50=map50)) is None) is recovered


# Validation finds nothing


def test_a_validation_that_finds_nothing_while_the_training_loss_falls_may_be_half_precision(run):
    found = diagnose(run(LOSSES, val=[NAN] * 60, map50=ZEROS, map5095=ZEROS, params={"optimizer": "SGD", "lr0": 0.01}))
    assert found.condition is Condition.VALIDATION_OVERFLOW
    assert dict(found.changes) == {"amp": False}
    assert "yolo val" in found.findings[0].advice


def test_a_validation_that_fails_in_mid_run_is_reported_from_there(run):
    lost = [*RISING[:40], *[0.0] * 20]
    found = diagnose(run(LOSSES, val=[*LOSSES[:40], *[INF] * 20], map50=lost, map5095=lost))
    assert (found.condition, found.findings[0].epochs) == (Condition.VALIDATION_OVERFLOW, (41, 60))


@pytest.mark.parametrize(
    ("losses", "params"),
    [
        ([5.0] * 60, {}),  # the training loss does not fall either
        (LOSSES, {"optimizer": "SGD", "lr0": 0.3}),
        (LOSSES, {"optimizer": "AdamW", "lr0": 0.02}),
        (LOSSES, {"amp": False}),
    ],
)
def test_a_validation_that_finds_nothing_is_divergence_unless_half_precision_explains_it(run, losses, params):
    assert diagnose(run(losses, val=[INF] * 60, map50=ZEROS, params=params)).condition is Condition.DIVERGED


def test_one_epoch_is_too_short_to_judge_a_validation(run):
    found = diagnose(run([5.0, 4.8], val=[5.0, INF], map50=[0.0, 0.0]))
    assert (found.condition, found.findings) == (Condition.TOO_EARLY, ())
    assert found.notes


# No objects to find


@pytest.mark.parametrize(
    "changed",
    [
        dict.fromkeys(METRICS, lambda _: "nan"),
        {**dict.fromkeys(METRICS, lambda _: 0), "val/box_loss": lambda _: 0, "val/dfl_loss": lambda _: 0},
        {**dict.fromkeys(METRICS, lambda _: "nan"), "val/box_loss": lambda _: 0, "val/dfl_loss": lambda _: 0},
    ],
)
def test_a_validation_split_without_labels_is_reported(written, changed):
    found = diagnose(written(NAMES, changed=changed))
    assert (found.condition, dict(found.changes)) == (Condition.NO_VALIDATION_LABELS, {})


@pytest.mark.parametrize(
    "changed",
    [
        dict.fromkeys(METRICS, lambda epoch: 0 if epoch < 55 else None),  # it has begun to find objects
        {"val/box_loss": lambda epoch: 0 if epoch == 2 else None},  # one epoch, as at too high a learning rate
        dict.fromkeys(METRICS, lambda _: 0),  # there are objects, but none is found
    ],
)
def test_missing_labels_are_not_reported_for_a_model_that_finds_nothing_yet(written, changed):
    conditions = {finding.condition for finding in diagnose(written(NAMES, changed=changed)).findings}
    assert Condition.NO_VALIDATION_LABELS not in conditions


def test_a_metric_that_is_nan_once_is_reported_in_a_note(written):
    found = diagnose(written(NAMES, changed={"metrics/mAP50(B)": lambda epoch: "nan" if epoch == 9 else None}))
    assert found.condition is Condition.NORMAL
    assert found.notes == ("NaN or infinite in epoch 9: mAP50",)
