"""Recognise a study, its data set and its model by their content, not by their places."""

from dataclasses import replace

import pytest
from optuna.trial import TrialState

from tests.tuner.conftest import driven, epoch, play
from tuner.comparison.reevaluation import Reevaluation, plan_for
from tuner.contract import EndRecord, Outcome, PreparedRecord, StartedRecord
from tuner.exceptions import MachineError
from tuner.search.search import Search
from tuner.storage.urls import sqlite_url
from tuner.study import FinalRunFacts, StoredStudy, StudyPaths, content_changes
from tuner.training.final_run import choose_winner, full_run_request


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "image.jpg"
    path.touch()
    return path


@pytest.fixture
def spec(spec, paths, file):
    return replace(
        spec,
        model="/old/weights.pt",
        model_source="/old/weights.pt",
        portable_model=str(paths.root / "n-untrained.pt"),
        data="/old/data.yaml",
        data_source=str(paths.root / "data.yaml"),
        model_sha256="a" * 64,
        sources=(str(file), str(paths.root / "data.yaml")),
    )


def prepared(spec, **facts):
    """Return what a trainer finds when it prepares the files again."""
    known = {
        "data": "/new/data.yaml",
        "data_sha256": spec.data_sha256,
        "num_classes": spec.num_classes,
        "num_images": spec.num_images,
        "model": "/new/weights.pt",
        "portable_model": "/new/weights.pt",
        "num_parameters": 1,
        "checkpoint_bytes": 1,
        "versions": {},
        "model_sha256": spec.model_sha256,
    }
    return PreparedRecord(**{**known, **facts})


def test_a_study_with_moved_files_trains_in_their_new_places_and_refuses_different_content(
    url, spec, space, paths, terms
):
    with driven(url, spec, paths) as study:
        now = replace(spec, model="/new/w.pt", model_source="/new/w.pt", data="/new/d.yaml", data_source="/new/r.yaml")
        study.renew_places(now)
        request = Search(study, space, paths, terms).suggest()
        assert (request.model, request.data) == ("/new/w.pt", "/new/r.yaml")
        assert (request.model_sha256, request.data_sha256) == ("a" * 64, "0" * 64)
    seen = StoredStudy.open(url, "s", paths.root).spec
    assert (seen.model, seen.data, seen.data_source) == ("/new/w.pt", "/new/d.yaml", "/new/r.yaml")
    assert seen.space == spec.space


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, []),
        ({"model": "/anywhere.pt", "data": "/any.yaml"}, []),
        ({"data_sha256": "1" * 64},
         ["data set /old/data.yaml (sha256 000000000000) -> /d (111111111111)"]),
        ({"model_sha256": "b" * 64},
         ["model /old/weights.pt (sha256 aaaaaaaaaaaa) -> /m (bbbbbbbbbbbb)"]),
        ({"num_classes": 7}, ["classes of the data set 6 -> 7"]),
        ({"model_sha256": ""}, ["model /old/weights.pt -> /new/weights.pt"]),
        ({"model_sha256": "", "model": "/old/weights.pt"}, []),
    ],
)  # fmt: skip
def test_content_counts_and_place_does_not(spec, facts, told):
    assert content_changes(spec, prepared(spec, **facts), data="/d", model="/m") == told


def test_content_that_changed_in_its_place_is_reported(spec):
    changed = prepared(spec, data_sha256="1" * 64)
    assert content_changes(spec, changed, data=spec.data, model=spec.model) == [
        "content of the data set /old/data.yaml (sha256 000000000000 -> 111111111111)"
    ]


def test_no_trial_fails_because_of_a_missing_file(study, space, paths, terms, file):
    search = Search(study, space, paths, terms)
    (paths.root / "data.yaml").touch()
    for outcome in (Outcome.BAD_DATA, Outcome.ERROR):
        request = search.suggest()
        search.report(request.trial, StartedRecord(pid=1, device="CPU"))
        search.report(request.trial, epoch(1))
        file.unlink(missing_ok=True)
        search.report(request.trial, EndRecord(outcome=outcome, message="no such file"))
        assert study.trials()[request.trial].state == TrialState.WAITING
        assert isinstance(search.problem, MachineError)
        assert f"'{file}', which trials read, does not exist any more" in str(search.problem)
        file.touch()
        search = Search(study, space, paths, terms)
    assert search.suggest().trial == 0


def test_no_configuration_is_judged_by_a_file_that_is_missing_during_the_comparison(study, space, paths, terms, file):
    (paths.root / "data.yaml").touch()
    search = Search(study, space, paths, terms)
    play(search, search.suggest(), 0.1, 0.25)
    play(search, search.suggest(), 0.1, 0.3)
    reevaluation = Reevaluation(study, plan_for(study, 6), paths, terms, slots=1)
    request = reevaluation.suggest()
    assert request.model_sha256 == "a" * 64
    file.unlink()
    reevaluation.report(reevaluation.number_of(request), EndRecord(outcome=Outcome.BAD_DATA, message="no such file"))
    assert isinstance(reevaluation.problem, MachineError)
    assert reevaluation.known.runs == ()


def test_with_all_files_in_place_a_failure_is_the_trials(study, space, paths, terms):
    (paths.root / "data.yaml").touch()
    search = Search(study, space, paths, terms)
    request = search.suggest()
    search.report(request.trial, EndRecord(outcome=Outcome.ERROR, message="KeyError"))
    assert study.trials()[request.trial].state == TrialState.FAIL


def test_files_in_the_studys_folder_are_found_in_its_new_place(url, spec, space, paths, terms, tmp_path):
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        play(search, search.suggest(), 0.1, 0.25)
        request = full_run_request(study, paths, choose_winner(study), epochs=2, gpus=0, threads=1)
        best = f"{request.directory}/weights/best.pt"
        study.record_final_run(
            FinalRunFacts(trial=0, epochs=2, directory=request.directory, state="COMPLETE", checkpoint=best)
        )
    moved = StudyPaths(paths.root.rename(tmp_path / "moved"))
    seen = StoredStudy.open(sqlite_url(moved.database), "s", moved.root)
    assert seen.final_run.directory == str(moved.final_run(0, 2))
    assert seen.final_run.checkpoint == str(moved.final_run(0, 2) / "weights/best.pt")
    assert seen.trials()[0].facts.log == str(moved.trial(0) / "trainer.log")
    assert seen.spec.data_source == str(moved.root / "data.yaml")
    assert seen.spec.portable_model == str(moved.root / "n-untrained.pt")
    assert seen.spec.model_source == "/old/weights.pt"
    seen.close()
