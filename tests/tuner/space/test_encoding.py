"""Encode a space as a unit cube: configurations become points and back; canonical forms become spaces again."""

import json
import math
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import Trial

from tuner.contract import ParamValue
from tuner.exceptions import SpaceError
from tuner.space import SHIPPED_SPACES, IntParameter, Space, UnitCube, find_space, load_space, parse_space, space_of

EVERY_FORM = """\
search: {epochs: 12, rungs: [3, 6], seed: 7, metric: mAP50}
parameters:
  optimizer: {choice: [SGD, AdamW, Adam]}
  amp: {choice: [true, bf16, fp32]}
  lr0:
    - {when: {optimizer: SGD}, float: [1e-3, 1.0], log: true}
    - {when: {optimizer: [AdamW, Adam]}, float: [1e-4, 0.01], log: true}
  momentum:
    - {when: {optimizer: SGD}, float: [0.8, 0.98]}
    - {when: {optimizer: [AdamW, Adam]}, fixed: 0.9}
  cos_lr: {choice: [true, false]}
  lrf: {when: {cos_lr: true, optimizer: SGD}, float: [0.01, 0.1]}
  translate: {float: [0.1, 0.7], step: 0.2}
  close_mosaic: {int: [0, 15], step: 5}
  freeze: {int: [1, 12]}
  nbs: {int: [8, 512], log: true}
  batch: {choice: [8, 16, 32]}
  imgsz: {when: {batch: [8, 16]}, int: [320, 640], step: 32}
  mosaic: 0.0
baseline:
  {optimizer: SGD, amp: true, lr0: 0.01, momentum: 0.937, cos_lr: false, translate: 0.1, close_mosaic: 10, freeze: 3,
   nbs: 64, batch: 16, imgsz: 640}
"""
VERSION_1 = Path(__file__).parents[2] / "data" / "older_spaces" / "version-1.json"
OF_EVERY_FORM = parse_space(EVERY_FORM, name="every", file="every.yaml")
SPACES = {path.stem: load_space(find_space(path.stem, Path("/"))) for path in sorted(SHIPPED_SPACES.glob("*.yaml"))}
SPACES["every"] = OF_EVERY_FORM
EDGES = (0.0, 1.0, 0.5, 1 / 3, math.nextafter(1.0, 0.0), math.nextafter(0.0, 1.0))
PLACES = st.floats(0.0, 1.0) | st.sampled_from(EDGES)


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> Space:
    found: Space = SPACES[request.param]
    return found


def typed(values: dict[str, ParamValue]) -> dict[str, tuple[type, ParamValue]]:
    return {label: (type(value), value) for label, value in values.items()}


def point_of(data: st.DataObject, cube: UnitCube) -> np.ndarray:
    return np.array(data.draw(st.tuples(*[PLACES] * len(cube.labels))))


def suggested(space: Space, seed: int) -> dict[str, ParamValue]:
    """Return a configuration that Optuna draws."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial: Trial = study.ask()
    return space.suggest(trial)


def test_there_is_a_dimension_for_each_searched_parameter_in_the_order_of_the_space(space: Space) -> None:
    cube = UnitCube(space)

    assert cube.labels == tuple(parameter.label for parameter in space.searched)
    assert len(cube.choices) == len(cube.labels)


def test_every_point_is_a_configuration_of_the_space(space: Space) -> None:
    cube = UnitCube(space)
    of_label = {parameter.label: parameter for parameter in space.searched}

    @given(st.data())
    def is_one(data: st.DataObject) -> None:
        sampled = cube.sampled(point_of(data, cube))

        space.resolve(sampled)
        fitted = {label: of_label[label].fitted(value) for label, value in sampled.items()}
        assert typed(fitted) == typed(sampled)
        # Optuna's distributions, in which it would have to be enqueued.
        assert all(of_label[label].distribution()._contains(
            of_label[label].distribution().to_internal_repr(value)) for label, value in sampled.items())  # fmt: skip

    is_one()


def test_a_point_that_came_from_a_configuration_is_a_fixed_point(space: Space) -> None:
    cube = UnitCube(space)

    @given(st.data())
    def stays(data: st.DataObject) -> None:
        sampled = cube.sampled(point_of(data, cube))
        point = cube.point(sampled)

        assert np.array_equal(cube.point(cube.sampled(point)), point)
        assert ((point >= 0) & (point <= 1)).all()

    stays()


@pytest.mark.parametrize("seed", range(20))
def test_values_that_optuna_draws_are_restored(space: Space, seed: int) -> None:
    cube, sampled = UnitCube(space), suggested(space, seed)
    back = cube.sampled(cube.point(sampled))

    assert typed(back).keys() == typed(sampled).keys()
    for label, value in sampled.items():
        assert type(back[label]) is type(value)
        assert back[label] == (pytest.approx(value, rel=1e-9, abs=1e-11) if isinstance(value, float) else value)


def test_the_baseline_is_restored_to_the_last_digit(space: Space) -> None:
    cube, baseline = UnitCube(space), space.baseline_sampled()

    assert typed(cube.sampled(cube.point(baseline))) == typed(baseline)


def test_a_dimension_without_a_value_is_in_the_middle() -> None:
    cube = UnitCube(OF_EVERY_FORM)
    place = dict(zip(cube.labels, cube.point(OF_EVERY_FORM.baseline_sampled()), strict=True))

    assert place["lr0 [optimizer=AdamW|Adam]"] == place["lrf [cos_lr=true, optimizer=SGD]"] == 0.5


def test_the_conditions_say_which_dimensions_have_a_value(space: Space) -> None:
    cube = UnitCube(space)
    for seed in range(50):
        sampled = cube.sampled(np.random.default_rng(seed).random(len(cube.labels)))
        point = cube.point(sampled)
        has_value: list[bool] = []
        for conditions in cube.conditions:
            bins = [(other, int(point[other] * cube.choices[other]), allowed) for other, allowed in conditions]
            has_value.append(all(has_value[other] and found in allowed for other, found, allowed in bins))

        assert [label in sampled for label in cube.labels] == has_value


def test_a_condition_on_a_parameter_with_variants_is_left_out() -> None:
    text = """\
parameters:
  optimizer: {choice: [SGD, AdamW]}
  cos_lr: [{when: {optimizer: SGD}, choice: [true, false]}, {when: {optimizer: AdamW}, fixed: true}]
  lrf: {when: {cos_lr: true}, float: [0.01, 0.1]}
baseline: {optimizer: SGD, cos_lr: true, lrf: 0.02}
"""
    cube = UnitCube(parse_space(text, name="s", file="s.yaml"))

    of_label = dict(zip(cube.labels, cube.conditions, strict=True))
    assert of_label["cos_lr [optimizer=SGD]"] == ((cube.labels.index("optimizer"), frozenset({0})),)
    assert of_label["lrf [cos_lr=true]"] == ()


def test_a_value_keeps_its_position_between_low_and_high() -> None:
    cube = UnitCube(OF_EVERY_FORM)
    place = dict(zip(cube.labels, cube.point(OF_EVERY_FORM.baseline_sampled()), strict=True))

    assert place["lr0 [optimizer=SGD]"] == pytest.approx(1 / 3)
    assert place["momentum [optimizer=SGD]"] == pytest.approx(0.137 / 0.18)
    assert place["close_mosaic"] == pytest.approx(2 / 3)
    assert place["freeze"] == pytest.approx(2 / 11)
    assert place["nbs"] == pytest.approx(0.5)
    assert place["imgsz [batch=8|16]"] == place["translate"] + 1 == 1


def test_a_choice_lies_in_the_middle_of_its_bin() -> None:
    cube = UnitCube(OF_EVERY_FORM)
    number = dict(zip(cube.labels, cube.choices, strict=True))
    sampled = {**OF_EVERY_FORM.baseline_sampled(), "optimizer": "Adam", "cos_lr": True}
    place = dict(zip(cube.labels, cube.point(sampled), strict=True))

    assert (number["optimizer"], number["cos_lr"], number["nbs"]) == (3, 2, 0)
    assert (place["optimizer"], place["cos_lr"]) == (2.5 / 3, 0.25)


def test_the_ends_of_a_range_can_be_reached() -> None:
    cube = UnitCube(OF_EVERY_FORM)
    low, high = (cube.sampled(np.full(len(cube.labels), place)) for place in (-1.0, 2.0))

    assert (low["lr0 [optimizer=SGD]"], low["momentum [optimizer=SGD]"], low["nbs"]) == (0.001, 0.8, 8)
    assert (high["lr0 [optimizer=AdamW|Adam]"], high["translate"], high["close_mosaic"]) == (0.01, 0.7, 15)


def test_steps_have_the_digits_in_which_they_are_written() -> None:
    cube = UnitCube(OF_EVERY_FORM)
    point = np.full(len(cube.labels), 0.5)
    point[cube.labels.index("translate")] = 1 / 3

    assert cube.sampled(point)["translate"] == 0.3


@pytest.mark.parametrize(
    ("label", "value"), [("scale", 0.5), ("optimizer", "RAdam"), ("nbs", 7), ("translate", 0.2), ("cos_lr", 1)]
)
def test_a_value_of_another_space_is_refused(label: str, value: ParamValue) -> None:
    with pytest.raises(SpaceError, match=label):
        UnitCube(OF_EVERY_FORM).point({**OF_EVERY_FORM.baseline_sampled(), label: value})


class TestSpaceOf:
    def test_a_canonical_form_becomes_its_space_again(self, space: Space) -> None:
        stored = json.loads(json.dumps(space.canonical()))
        again = space_of(stored, name=space.name)

        assert again.canonical() == space.canonical()
        assert [parameter.label for parameter in again.parameters] == [p.label for p in space.parameters]
        assert again.parameters == space.parameters

    def test_the_order_in_a_stored_form_does_not_matter(self) -> None:
        stored = json.loads(json.dumps(OF_EVERY_FORM.canonical(), sort_keys=True))

        assert space_of(stored, name="every").parameters == OF_EVERY_FORM.parameters

    def test_conditions_are_read_from_data_and_not_from_labels(self) -> None:
        canonical = OF_EVERY_FORM.canonical()
        parameters = canonical["parameters"]
        assert isinstance(parameters, dict)
        unlabelled = {f"parameter {number}": form for number, form in enumerate(parameters.values())}

        assert space_of({**canonical, "parameters": unlabelled}, name="every").parameters == OF_EVERY_FORM.parameters

    def test_a_form_of_version_1_with_conditions_in_labels_only_is_the_same_space(self) -> None:
        recorded = json.loads(VERSION_1.read_text())
        again = space_of(recorded, name="every")

        assert (again.parameters, again.baseline) == (OF_EVERY_FORM.parameters, OF_EVERY_FORM.baseline)
        assert OF_EVERY_FORM.differences(recorded) == [], "so its study resumes"

    def test_a_step_of_one_counts_as_no_step(self) -> None:
        again = space_of(OF_EVERY_FORM.canonical(), name="every")

        assert [p.step for p in again.parameters if isinstance(p, IntParameter) and p.name == "freeze"] == [None]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"version": 3}, "version 1 or 2, but got 3"),
            ({"version": None}, "version 1 or 2, but got None"),
            ({"settings": None}, "settings, parameters and baseline"),
            ({"parameters": {"lr0": 3}}, "settings, parameters and baseline"),
            ({"parameters": {"lr0": {"name": "lr0", "float": [1.0, 0.1], "when": {}}}}, "low must be below high"),
            ({"parameters": {"os": {"name": "os", "fixed": 1, "when": {}}}}, "training arguments, but got 'os'"),
            ({"baseline": {}}, "every searched parameter needs a value"),
        ],
    )
    def test_an_invalid_form_is_refused(self, changes: dict[str, object], said: str) -> None:
        with pytest.raises(SpaceError, match=said):
            space_of({**OF_EVERY_FORM.canonical(), **changes}, name="x")
