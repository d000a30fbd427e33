"""Check what a study shows to scripts and notebooks."""

import math
import shutil

import pytest

import tuner
from tests.tuner.conftest import driven, empty_database, play, space, spec, terms  # noqa: F401 - fixtures
from tuner.exceptions import NoSuccessfulTrialError
from tuner.search.search import Search
from tuner.study import StudyPaths


@pytest.fixture
def home(tmp_path, empty_database, spec):  # noqa: F811
    paths = StudyPaths.of(tmp_path / "studies", "mine")
    paths.create()
    shutil.copy(empty_database, paths.database)
    with driven(f"sqlite:///{paths.database}", spec, paths, name="mine"):
        pass
    return tmp_path / "studies"


@pytest.fixture
def searched(home, space, spec, terms):  # noqa: F811
    """Return a study of three trials: complete, complete and better, in training."""
    paths = StudyPaths.of(home, "mine")
    with driven(f"sqlite:///{paths.database}", spec, paths, name="mine") as study:
        search = Search(study, space, paths, terms)
        play(search, search.suggest(), 0.1, 0.25)
        play(search, search.suggest(), 0.2, 0.3)
        search.suggest()
    return tuner.open_study("mine", home=home)


def test_a_frame_has_one_row_per_trial_and_typed_columns(searched):
    frame = searched.frame()
    assert frame["number"].tolist() == [0, 1, 2]
    assert frame["state"].tolist()[:2] == ["COMPLETE", "COMPLETE"]
    assert frame["value"].tolist()[:2] == [0.25, 0.3]
    assert math.isnan(frame["value"].iloc[2])
    assert {name: str(kind) for name, kind in frame.dtypes.items() if not name.startswith("params_")} == {
        "number": "int64",
        "state": "str",
        "reason": "str",
        "value": "float64",
        "last_value": "float64",
        "epochs": "Int64",
        "seconds": "float64",
        "began": "datetime64[us]",
        "ended": "datetime64[us]",
    }
    labels = {label for trial in searched.trials for label in trial.sampled}
    assert {name for name in frame if name.startswith("params_")} == {f"params_{label}" for label in labels}


def test_a_study_without_a_trial_has_no_best_no_winner_no_verdict_and_no_parameters(home):
    study = tuner.open_study("mine", home=home)
    assert (study.best, study.winner, study.verdict, study.final_run) == (None, None, None, None)
    assert len(study.frame()) == 0
    assert str(study.frame().dtypes["value"]) == "float64"
    assert "'mine': 0 trials" in repr(study)
    with pytest.raises(NoSuccessfulTrialError):
        study.params  # noqa: B018


def test_curves_have_one_row_per_validated_epoch(searched):
    curves = searched.curves()
    assert curves["value"].tolist()[:4] == [0.1, 0.25, 0.2, 0.3]


def test_the_parameters_are_those_that_the_export_writes(searched, tmp_path):
    file = searched.export(tmp_path / "params.yaml")
    assert searched.best.number == searched.winner.trial.number == 1
    assert f"lr0: {searched.params['lr0']}" in file.read_text()


def test_a_study_shows_its_name_trials_and_result_in_a_line_of_text_and_html(searched):
    assert repr(searched).startswith("<Study 'mine': 3 trials. ")
    assert searched._repr_html_().startswith("<p><b>mine</b>: 3 trials. ")
    assert len(repr(searched)) < 300


def test_a_study_whose_database_was_removed_shows_the_problem_instead_of_failing(searched):
    searched.close()
    shutil.rmtree(searched.folder)
    assert repr(searched).startswith("<Study 'mine': ")


def test_the_report_is_one_page(searched, tmp_path):
    assert searched.report() == searched.folder / "report.html"
    assert "<html" in searched.report(tmp_path / "mine.html").read_text()


def test_a_study_opens_by_its_folder_too(searched):
    assert tuner.open_study(searched.folder).trials == searched.trials
