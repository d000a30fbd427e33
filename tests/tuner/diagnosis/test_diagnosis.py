"""Diagnose time, memory, phases, grades and remaining time. No run, however odd, breaks a rule."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuner.diagnosis.conftest import decaying, straight
from tuner.contract import Outcome
from tuner.diagnosis import Condition, Run, RunEpoch, diagnose
from tuner.diagnosis.grade import Mark, grade, mark
from tuner.diagnosis.phases import standing
from tuner.diagnosis.resources import out_of_memory, slow
from tuner.report.diagnosis import diagnosis_facts, diagnosis_lines

# Memory [guide 25]


@pytest.mark.parametrize(
    ("params", "changes"),
    [
        ({"batch": 32, "imgsz": 640}, {"batch": 16}),
        ({"batch": 1, "imgsz": 640}, {"imgsz": 416}),
        ({"batch": 1, "imgsz": 416}, {"imgsz": 320}),
        ({"batch": 1, "imgsz": 320}, {}),
        ({"batch": -1}, {"batch": 8}),
        ({}, {"batch": 8}),
    ],
)
def test_out_of_memory_halves_the_batch_and_then_shrinks_the_images(run, params, changes):
    found = out_of_memory(run([], outcome=Outcome.OUT_OF_MEMORY, message="too large", params=params))
    assert dict(found.changes) == changes
    assert "too large" in found.evidence


@pytest.mark.parametrize("outcome", [None, Outcome.DIVERGED, Outcome.COMPLETED])
def test_out_of_memory_is_not_reported_for_another_error(run, outcome):
    assert out_of_memory(run([3.0], outcome=outcome)) is None


# Time [guide 29]


def test_epochs_of_hours_are_slow_and_every_way_to_load_faster_is_proposed(run):
    found = slow(run([3.0, 2.0, 1.0], seconds=[7300.0] * 3, params={"amp": False, "cache": False, "workers": 2}))
    assert dict(found.changes) == {"amp": True, "cache": "disk", "workers": 8}


def test_much_longer_epochs_are_reported_without_blaming_an_argument(run):
    found = slow(run([2.0] * 20, seconds=[10.0] * 15 + [45.0, 10.0, 80.0, 31.0, 10.0]))
    assert (found.epochs, dict(found.changes)) == ((16, 19), {})


@pytest.mark.parametrize(
    "seconds",
    [
        [60.0, *([10.0] * 19)],  # the first fills the caches
        [10.0] * 18 + [45.0, 10.0],
        [10.0] * 10 + [25.0] * 10,
        [],
        [float("nan")] * 20,
    ],
)
def test_a_slow_start_and_a_single_slow_epoch_are_normal(run, seconds):
    assert slow(run([2.0] * 20, seconds=seconds)) is None


def test_epochs_that_are_validated_may_take_longer(run):
    made = run([2.0] * 20, seconds=[40.0 if i % 5 == 0 else 10.0 for i in range(20)])
    epochs = tuple(replace(e, metrics={"mAP50": 0.1} if e.epoch % 5 == 1 else None) for e in made.epochs)
    assert slow(replace(made, epochs=epochs)) is None


# Phases [guide 14]


@pytest.mark.parametrize(
    ("epochs", "planned", "number", "of_phase"),
    [
        (50, 300, 1, (1, 50)),
        (51, 300, 2, (51, 150)),
        (151, 300, 3, (151, 300)),
        (10, 60, 1, (1, 10)),
        (60, 60, 3, (31, 60)),
    ],
)
def test_phases_grow_with_the_plan(run, epochs, planned, number, of_phase):
    found = standing(run(decaying(5.0, 1.0, epochs), map50=straight(0, 0.5, epochs), planned=planned))
    assert (found.number, found.epochs) == (number, of_phase)


def test_map_below_its_phase_is_behind(run):
    assert standing(run([2.0] * 200, map50=[0.3] * 200, planned=300)).is_behind
    assert not standing(run([2.0] * 200, map50=[0.6] * 200, planned=300)).is_behind
    assert not standing(run([2.0] * 200, planned=300)).is_behind


@pytest.mark.parametrize("known", [{"planned": None}, {"planned": 300, "from_scratch": False}])
def test_without_a_plan_or_a_start_from_scratch_there_are_no_phases(run, known):
    assert standing(run([2.0] * 10, **known)) is None


def test_a_box_loss_of_another_weight_is_compared_as_if_it_had_the_usual_one(run):
    assert standing(run([4.0] * 10, planned=10, params={"box": 15.0})).loss == 2.0


# Grades [guide 19]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("mAP50", 0.6, Mark.BELOW),
        ("mAP50", 0.61, Mark.OK),
        ("mAP50", 0.71, Mark.GOOD),
        ("mAP50", 0.81, Mark.EXCELLENT),
        ("mAP50-95", 0.4, Mark.BELOW),
        ("mAP50-95", 0.45, Mark.OK),
        ("mAP50-95", 0.55, Mark.GOOD),
        ("mAP50-95", 0.65, Mark.EXCELLENT),
    ],
)
def test_marks_are_the_guides(name, value, expected):
    assert mark(name, value) is expected


def test_a_run_is_graded_by_its_best_epoch_and_the_lower_of_its_marks(run):
    found = grade(run([2.0] * 3, map50=[0.5, 0.85, 0.7], map5095=[0.3, 0.45, 0.4]))
    assert (found.epoch, found.mark, found.below_good_run) == (2, Mark.OK, ())


def test_a_run_without_a_whole_value_has_no_grade(run):
    assert grade(run([2.0] * 3)) is None
    assert grade(run([2.0], map50=[float("nan")], map5095=[float("nan")])) is None


# Whole diagnoses


def test_the_time_left_is_that_of_the_last_epochs(run):
    assert diagnose(run([2.0] * 30, seconds=[100.0] * 10 + [10.0] * 20, planned=300)).seconds_left == 2700
    assert diagnose(run([2.0] * 30, seconds=[10.0] * 30, planned=30)).seconds_left is None
    assert diagnose(run([2.0] * 30, planned=300)).seconds_left is None


def test_the_first_of_two_findings_about_one_argument_counts(run):
    losses = [3.0, float("nan")]
    made = run(losses, outcome=Outcome.OUT_OF_MEMORY, params={"optimizer": "SGD", "lr0": 0.1, "batch": 4})
    assert diagnose(made).condition is Condition.DIVERGED
    assert dict(diagnose(made).changes) == {"batch": 2, "lr0": 0.01, "warmup_epochs": 5}


def test_a_slow_run_that_learns_normally_is_reported_as_both(run):
    made = run(decaying(5.0, 1.0, 20), map50=straight(0, 0.4, 20), seconds=[10.0] * 15 + [45.0, 10.0, 80.0, 31.0, 10.0])
    found = diagnose(made)
    assert (found.condition, found.learning) == (Condition.SLOW, Condition.NORMAL)
    told = diagnosis_lines(found)
    assert [line.split(",")[0] for line in told if line.startswith(("SLOW", "NORMAL"))] == ["SLOW", "NORMAL"]


def test_a_short_curve_says_how_many_epochs_a_judgement_takes(run):
    assert any("this needs 13 epochs" in line for line in diagnosis_lines(diagnose(run(decaying(5.0, 1.0, 6)))))


number = st.one_of(st.floats(), st.floats(min_value=0, max_value=10), st.sampled_from([0.0, 1e300, -1e300]))
values = st.none() | st.dictionaries(st.sampled_from(["mAP50", "mAP50-95", "recall", "other"]), number)
losses = st.dictionaries(st.sampled_from(["box", "cls", "dfl", "x"]), number, max_size=3)
params = st.dictionaries(
    st.sampled_from(["lr0", "batch", "imgsz", "optimizer", "warmup_epochs", "box", "mosaic", "patience", "resume"]),
    st.one_of(st.floats(), st.integers(), st.booleans(), st.text(max_size=4), st.just((1, 2))),
)


@st.composite
def runs(draw):
    rows = draw(st.lists(st.tuples(losses, losses | st.none(), values, st.none() | number), max_size=8))
    repeats = draw(st.integers(1, 12))
    epochs = [
        RunEpoch(epoch=i + 1, train=train, val=val, metrics=metrics, seconds=seconds)
        for i, (train, val, metrics, seconds) in enumerate(rows * repeats)
    ]
    return Run(
        source="run",
        epochs=tuple(epochs),
        planned_epochs=draw(st.none() | st.integers(1, 400)),
        params=draw(params),
        from_scratch=draw(st.none() | st.booleans()),
        outcome=draw(st.none() | st.sampled_from(Outcome)),
    )


@settings(max_examples=60)
@given(runs())
def test_any_run_can_be_diagnosed_printed_and_put_in_json(made):
    found = diagnose(made)
    json.dumps(diagnosis_facts(found), allow_nan=False)
    assert all("\n" not in line for line in diagnosis_lines(found))
    assert set(found.changes) == {name for finding in found.findings for name in finding.changes}
