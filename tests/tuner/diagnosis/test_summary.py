"""Summarise a run in one or two lines."""

from pathlib import Path

import pytest

from tuner.diagnosis import summary_lines

CURVES = Path(__file__).parent / "curves"


def test_a_healthy_run_has_its_mark_and_nothing_else():
    assert summary_lines(CURVES / "healthy") == (
        "mark by the training guide's targets, which apply from 300 epochs: below the targets",
    )


@pytest.mark.parametrize(("run", "condition"), [("lr-too-low", "loss-not-falling"), ("tiny-overfits", "overfitting")])
def test_problems_are_reported(run, condition):
    _, found = summary_lines(CURVES / run)
    assert found.startswith(f"{condition}: ")


def test_nothing_is_shown_without_a_run(tmp_path):
    assert summary_lines(tmp_path) == summary_lines(tmp_path / "none") == ()
