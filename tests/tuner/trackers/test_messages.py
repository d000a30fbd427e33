"""Messages to the process of a tracker: the same on both sides of the pipe, and no value twice."""

import math
from dataclasses import replace

import pytest

from tuner.trackers.messages import Answer, Kind, LoggedRun, news

RUN = LoggedRun(
    key="trial-0003",
    kind=Kind.TRIAL,
    name="trial 3",
    state="RUNNING",
    reason="Größe\nzwei",
    params={"lr0": 0.1, "optimizer": "SGD", "cos_lr": True, "batch": 16},
    points={1: {"train/box": 2.0}, 3: {"train/box": 1.0, "mAP50-95": 0.25}},
    last_epoch=3,
    texts={"device": "CPU"},
    files=("/s/params.yaml",),
)


def test_a_run_is_the_same_on_the_other_side_of_the_pipe():
    assert LoggedRun.decode(RUN.encode()) == RUN
    assert "\n" not in RUN.encode()


def test_values_that_are_not_finite_cross_the_pipe():
    odd = LoggedRun.decode(replace(RUN, points={1: {"a": math.nan, "b": -math.inf}}).encode())
    assert math.isnan(odd.points[1]["a"])
    assert odd.points[1]["b"] == -math.inf


def test_everything_of_a_new_run_is_new():
    assert news(None, RUN) == RUN


def test_an_unchanged_run_has_nothing_new_even_with_nan():
    odd = replace(RUN, points={1: {"a": math.nan}})
    assert news(RUN, RUN) is None
    assert news(odd, replace(RUN, points={1: {"a": math.nan}})) is None


def test_only_added_points_are_new():
    later = replace(
        RUN, points={**RUN.points, 3: {**RUN.points[3], "recall": 0.5}, 4: {"train/box": 0.9}}, last_epoch=4
    )
    assert news(RUN, later) == replace(later, points={3: {"recall": 0.5}, 4: {"train/box": 0.9}})


@pytest.mark.parametrize(
    "change", [{"state": "PRUNED"}, {"reason": "late"}, {"summary": {"value": 0.3}}, {"files": ()}]
)
def test_a_change_without_points_is_new(change):
    assert news(RUN, replace(RUN, **change)) == replace(RUN, **change, points={})


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"problem": 1}', "Traceback"])
def test_an_invalid_answer_is_refused(line):
    with pytest.raises(ValueError, match=r"not an answer|Expecting value"):
        Answer.decode(line)
