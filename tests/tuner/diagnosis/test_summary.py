"""A run in a line or two."""

from pathlib import Path

import pytest

from tuner.diagnosis import summary

CURVES = Path(__file__).parent / "curves"


def test_a_healthy_run_has_its_mark_and_nothing_else():
    assert summary(CURVES / "healthy") == (
        "by the training guide's marks, which are for 300 epochs and more: below the targets",
    )


@pytest.mark.parametrize(("run", "condition"), [("lr-too-low", "loss-not-falling"), ("tiny-overfits", "overfitting")])
def test_what_is_wrong_is_told(run, condition):
    _, found = summary(CURVES / run)
    assert found.startswith(f"{condition}: ")


def test_where_there_is_no_run_nothing_is_said(tmp_path):
    assert summary(tmp_path) == summary(tmp_path / "none") == ()
