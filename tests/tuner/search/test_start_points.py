"""Fit starting points into a space, and try them before the search proposes its own configurations."""

from dataclasses import replace
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.tuner.conftest import driven, play
from tuner.report.page.start_point_section import start_point_section
from tuner.report.page.study import study_page
from tuner.report.status import status_of, status_table
from tuner.report.trials import trial_lines, trial_of
from tuner.search.search import Search
from tuner.search.start_points import SHARE, start_points
from tuner.search.warm_start import Candidate, Start
from tuner.space import (
    SHIPPED_SPACES,
    FixedParameter,
    StartPoint,
    UnitCube,
    load_space,
    parse_space,
    shipped_start_points,
)

SPACE = """
parameters:
  optimizer: {choice: [SGD, AdamW]}
  lr0:
    - {when: {optimizer: SGD}, float: [0.001, 0.1], log: true}
    - {when: {optimizer: AdamW}, float: [0.0001, 0.01], log: true}
  momentum: 0.9
  weight_decay: {float: [0.0001, 0.01], log: true}
  mosaic: {float: [0, 0.8]}
  close_mosaic: {int: [0, 10]}
baseline: {optimizer: SGD, lr0: 0.01, weight_decay: 0.0005, mosaic: 0.8, close_mosaic: 10}
"""
SPACES = [load_space(path) for path in sorted(SHIPPED_SPACES.glob("*.yaml"))]
DEFAULT = {"optimizer": "SGD", "lr0": 0.01, "momentum": 0.9, "weight_decay": 0.0005, "mosaic": 0.8, "close_mosaic": 10}


def with_points(space, *points, trials=1000):
    return replace(space, settings=replace(space.settings, start_points=points, trials=trials))


def small():
    return parse_space(SPACE, name="small", file="small.yaml")


def fitted(values):
    """Return the trainer's arguments of a starting point in the small space; None if it is left out."""
    space = small()
    found = start_points(with_points(space, StartPoint(name="a", values=values)))
    return space.resolve(found[0].configuration) if found else None


class TestFit:
    def test_values_that_are_not_given_keep_their_default(self):
        assert fitted({"mosaic": 0.5}) == {**DEFAULT, "mosaic": 0.5}

    def test_values_that_the_user_fixed_and_arguments_outside_the_space_stay(self):
        assert fitted({"momentum": 0.8, "mixup": 0.3, "mosaic": 0.5}) == {**DEFAULT, "mosaic": 0.5}

    def test_numbers_are_clipped_to_their_range(self):
        assert fitted({"mosaic": 1.0, "close_mosaic": 20, "weight_decay": 0.05}) == {**DEFAULT, "weight_decay": 0.01}

    def test_the_variant_of_its_optimizer_takes_the_learning_rate(self):
        found = fitted({"optimizer": "AdamW", "lr0": 0.001})
        assert found == {**DEFAULT, "optimizer": "AdamW", "lr0": 0.001}

    def test_an_optimizer_that_the_space_lacks_leaves_the_default_schedule(self):
        found = fitted({"optimizer": "MuSGD", "lr0": 0.02, "weight_decay": 0.001, "mosaic": 0.5})
        assert found == {**DEFAULT, "mosaic": 0.5}

    @pytest.mark.parametrize(("lr0", "taken"), [(0.0006, 0.001), (0.0004, 0.01), (0.15, 0.1), (0.5, 0.01)])
    def test_a_learning_rate_far_outside_the_range_leaves_the_default_schedule(self, lr0, taken):
        found = fitted({"optimizer": "SGD", "lr0": lr0, "weight_decay": 0.001, "mosaic": 0.5})
        assert (found["lr0"], found["weight_decay"]) == (taken, 0.0005 if taken == 0.01 else 0.001)

    def test_a_schedule_is_not_mixed_with_a_learning_rate_that_the_user_fixed(self):
        fixed = SPACE.replace("  momentum", "  lrf: {float: [0.01, 1]}\n  momentum").replace(
            "    - {when: {optimizer: SGD}, float: [0.001, 0.1], log: true}\n"
            "    - {when: {optimizer: AdamW}, float: [0.0001, 0.01], log: true}\n",
            "    - {when: {optimizer: [SGD, AdamW]}, fixed: 0.05}\n",
        )
        space = parse_space(fixed.replace("lr0: 0.01,", "lrf: 0.01,"), name="s", file="s")
        adamw = StartPoint(name="a", values={"optimizer": "AdamW", "lr0": 0.001, "lrf": 0.5, "mosaic": 0.5})
        (found,) = start_points(with_points(space, adamw))
        params = space.resolve(found.configuration)
        assert (params["optimizer"], params["lr0"], params["lrf"], params["mosaic"]) == ("SGD", 0.05, 0.01, 0.5)

    def test_the_default_and_duplicates_are_left_out(self):
        space = small()
        points = [StartPoint(name=n, values={"mosaic": value}) for n, value in (("a", 1), ("b", 0.5), ("c", 0.5))]
        assert [start.candidate.origin for start in start_points(with_points(space, *points))] == ["b"]

    def test_points_that_a_warm_start_already_tries_are_left_out(self):
        space = with_points(small(), StartPoint(name="a", values={"mosaic": 0.5}))
        (known,) = start_points(space)
        assert start_points(space, [known]) == ()


class TestLimit:
    POINTS = tuple(StartPoint(name=f"p{number}", values={"mosaic": number / 100}) for number in range(20))

    @pytest.mark.parametrize(("trials", "number"), [(1, 0), (7, 0), (8, 1), (15, 1), (16, 2), (40, 5), (1000, 20)])
    def test_at_most_one_in_eight_trials_is_a_starting_point(self, trials, number):
        found = start_points(with_points(small(), *self.POINTS, trials=trials))
        assert [start.candidate.origin for start in found] == [point.name for point in self.POINTS[:number]]
        assert SHARE == 8

    @pytest.mark.parametrize(("warm", "number"), [(0, 5), (3, 2), (5, 0), (9, 0)])
    def test_a_warm_start_reduces_the_number_of_points(self, warm, number):
        earlier = [Start(configuration={"lr0": i}, candidate=Candidate(values={}), clipped=()) for i in range(warm)]
        assert len(start_points(with_points(small(), *self.POINTS, trials=40), earlier)) == number

    def test_points_that_are_left_out_do_not_count(self):
        same = StartPoint(name="same", values={"mosaic": 0.8})
        found = start_points(with_points(small(), same, *self.POINTS, trials=8))
        assert [start.candidate.origin for start in found] == ["p0"]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_the_shipped_points_fit_into_the_shipped_spaces(space):
    found = start_points(with_points(space, *shipped_start_points("detectors")))
    assert len(found) >= 5
    for start in found:
        UnitCube(space).point(start.configuration)


VALUES = st.dictionaries(
    st.sampled_from(["lr0", "lrf", "momentum", "weight_decay", "mosaic", "mixup", "hsv_h", "augmentation_strength"]),
    st.floats(1e-6, 1),
    min_size=1,
)
OPTIMIZERS = st.sampled_from([{}, {"optimizer": "SGD"}, {"optimizer": "AdamW"}, {"optimizer": "RMSprop"}])


@settings(max_examples=50)
@given(st.sampled_from(SPACES), st.lists(st.tuples(VALUES, OPTIMIZERS), max_size=6), st.integers(1, 60))
def test_points_are_inside_the_space_keep_fixed_values_and_are_the_same_each_time(space, drawn, trials):
    points = [StartPoint(name=f"p{i}", values={**values, **more}) for i, (values, more) in enumerate(drawn)]
    space = with_points(space, *points, trials=trials)
    found = start_points(space)
    assert found == start_points(space)
    assert len(found) <= trials // SHARE
    configurations = [start.configuration for start in found]
    assert space.baseline_sampled() not in configurations
    assert all(configurations.count(each) == 1 for each in configurations)
    for each in configurations:
        UnitCube(space).point(each)  # raises for a value outside the space
        params = space.resolve(each)
        always = [p for p in space.parameters if isinstance(p, FixedParameter) and not p.when and p.name in params]
        fixed = {p.name: p.value for p in always}
        assert {name: params[name] for name in fixed} == fixed


@pytest.fixture
def started(spec):
    points = {"low (https://x.org)": {"lr0": 0.03}, "high": {"lr0": 0.04}}
    return replace(spec, warm_start=({"lr0": 0.02},), start_points=points)


def rates(search, number):
    """Train the next trials to their end. Return their learning rates."""
    requests = []
    for _ in range(number):
        requests.append(search.suggest())
        play(search, requests[-1], 0.1, 0.2)
    return [request.params["lr0"] for request in requests]


def test_points_are_tried_after_the_warm_start_and_name_their_source(url, started, paths, space, terms):
    with driven(url, started, paths) as study:
        tried = rates(Search(study, space, paths, terms), 5)
        assert tried[:4] == [0.01, 0.02, 0.03, 0.04]
        assert tried[4] not in tried[:4]
        assert [trial.facts.origin for trial in study.trials()] == [None, None, "low (https://x.org)", "high", None]


def test_a_driver_that_takes_over_tries_the_remaining_points(url, started, paths, space, terms):
    with driven(url, started, paths) as study:
        rates(Search(study, space, paths, terms), 3)
    with driven(url, None, paths) as study:
        assert rates(Search(study, space, paths, terms), 1) == [0.04]
        assert [trial.facts.origin for trial in study.trials()][2:] == ["low (https://x.org)", "high"]


def test_the_report_has_a_table_of_the_values_that_points_reached(url, started, paths, space, terms):
    with driven(url, started, paths) as study:
        search = Search(study, space, paths, terms)
        for at_end in (0.2, 0.1, 0.3, 0.15):
            play(search, search.suggest(), 0.1, at_end)
        (section,) = start_point_section(study.trials(), "mAP50-95")
        assert section.title == "1 of 2 starting points ended above the default configuration, on one seed"
        assert section.items[0].rows == (("2", "low (https://x.org)", "9", "0.3000"), ("3", "high", "9", "0.1500"))
        assert section in study_page(study, paths).sections
        assert list(start_point_section(study.trials()[:2], "mAP50-95")) == []


def test_status_names_the_starting_point_of_a_trial(url, started, paths, space, terms):
    with driven(url, started, paths) as study:
        rates(Search(study, space, paths, terms), 4)
        facts = status_of(study)
    assert "origin      starting point low (https://x.org)" in trial_lines(trial_of(facts, 2, paths))
    assert not any(line.startswith("origin") for line in trial_lines(trial_of(facts, 1, paths)))
    console = Console(file=StringIO(), width=200)
    console.print(*status_table(facts), sep="\n")
    assert console.file.getvalue().count("starting point low") == 1
