"""Write card and report at the end of a run: a failure costs one warning, and every end has a report."""

import signal
import sys

import pytest

from tests.tuner.conftest import play
from tuner.exceptions import FailurePolicyError
from tuner.report.page.page import write_page
from tuner.report.page.study import study_page
from tuner.study import FinalRunFacts
from tuner.system.signals import Interrupted
from tuner.workflows.hooks import Hooks, reported_end
from tuner.workflows.run_files import write_card, write_report


@pytest.fixture
def said():
    return []


def fail(error, study, paths, said):
    """End a run of the study with an error."""
    with reported_end(Hooks(), said.append) as end:
        end.concerns("s", paths)
        end.reads(study)
        raise error


def test_a_card_that_cannot_be_made_costs_one_warning(study, winner, paths, said):
    study.record_final_run(
        FinalRunFacts(trial=1, epochs=20, directory="/d", state="COMPLETE", checkpoint=str(paths.root / "best.pt"))
    )
    write_card(study, paths, [sys.executable], said.append)
    (warning,) = said
    assert warning.startswith("warning: the winner's card could not be made: The weights '")


def test_a_report_that_cannot_be_written_costs_one_warning(study, winner, paths, said):
    (paths.report / "in-its-place").mkdir(parents=True)
    assert write_report(study, paths, said.append) == ""
    (warning,) = said
    assert warning.startswith("warning: the report could not be written: The output file must be writable")


def test_a_report_that_cannot_be_made_costs_one_warning(study, winner, paths, said, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("odd\nbug")

    monkeypatch.setattr("tuner.report.page.study.study_page", fail)
    assert write_report(study, paths, said.append) == ""
    assert said == ["warning: the report could not be written: RuntimeError: odd bug"]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Interrupted(signal.SIGTERM), "stopped by SIGTERM; run the same command to resume"),
        (FailurePolicyError("three trials failed"), "three trials failed"),
        (KeyboardInterrupt(), "stopped by SIGINT"),
    ],
)
def test_a_run_that_ends_early_leaves_a_report_that_says_why(study, search, paths, said, error, why):
    play(search, search.suggest(), 0.1, 0.25)
    with pytest.raises(type(error)):
        fail(error, study, paths, said)
    assert said == [f"report {paths.report}"]
    assert f"The run ended early: {why}" in paths.report.read_text(encoding="utf-8")


def test_a_run_that_ends_before_its_first_trial_leaves_no_report(study, paths, said):
    with pytest.raises(FailurePolicyError):
        fail(FailurePolicyError("no trainer"), study, paths, said)
    assert (said, paths.report.exists()) == ([], False)


def test_a_report_that_is_written_is_not_written_again_at_the_end(study, winner, paths, said):
    with reported_end(Hooks(), said.append) as end:
        end.concerns("s", paths)
        end.reads(study)
        end.write_report()
        write_page(study_page(study, paths, notice="unchanged"), paths.report)
    assert said == []
    assert "unchanged" in paths.report.read_text(encoding="utf-8")
