"""Show the current record of the study in the dashboard, and never change it."""

import json
import re
import sqlite3
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest

from tests.tuner.conftest import driven, stored
from tests.tuner.dashboard.conftest import ask, detail, fill
from tuner.dashboard import catalogue as catalogue_module
from tuner.dashboard.attributes import role
from tuner.dashboard.catalogue import Catalogue
from tuner.dashboard.server import application
from tuner.dashboard.view_storage import ViewStorage
from tuner.exceptions import UsageError
from tuner.study import FinalRunFacts, StudyPaths, TrialFacts


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch):
    monkeypatch.setattr(catalogue_module, "FRESH_S", 0.0)


def attributes(item):
    return {each["key"]: each["value"] for each in item["user_attrs"]}


def test_the_note_on_a_study_has_the_result_the_winner_the_weights_and_the_commands(app, catalogue, filled, paths):
    note = detail(app, catalogue)["note"]["body"]

    assert note.startswith("**Best 0.3000 (trial 1), 0.0500 ahead of the default configuration on one seed")
    assert "| Default configuration | [trial 0](/dashboard/studies/" in note
    assert f"| Weights | `{paths.final_run(1, 20)}/weights/best.pt` ([open](/artifacts/" in note
    assert "| Report | [open](/artifacts/" in note
    assert "2 complete, 1 stopped early, 1 running, 1 waiting" in note
    for command in ("tune status s", "tune report s", "tune export s"):
        assert f"{command} --home {paths.root.parent}\n" in note
    assert "tune run" not in note, "its driver runs"


def test_a_study_without_a_driver_names_the_command_that_resumes_it(app, catalogue, left):
    note = detail(app, catalogue)["note"]["body"]

    assert "not running: 2 unfinished trial(s)" in note
    assert "\ntune run --space small --data sample --model mamba-yolo-n --study s --home " in note


def test_the_command_that_resumes_a_study_is_the_recorded_one(app, catalogue, url, spec, paths, left):
    with driven(url, spec, paths) as study:
        study.record_command(("run", "--space", "my space.yaml", "--trials", "20"))
        study.flush(10)

    assert "\ntune run --space 'my space.yaml' --trials 20\n" in detail(app, catalogue)["note"]["body"]


def test_a_final_run_that_was_cut_off_is_named_with_the_command_that_resumes_it(app, catalogue, url, spec, paths, left):
    with driven(url, spec, paths) as study:
        study.record_final_run(
            FinalRunFacts(trial=1, epochs=20, directory=str(paths.final_run(1, 20)), state="RUNNING")
        )
        study.flush(10)
        assert "| Final run | trial 1, 20 epochs, running |" in detail(app, catalogue)["note"]["body"]

    note = detail(app, catalogue)["note"]["body"]
    assert "| Final run | trial 1, 20 epochs, interrupted |" in note
    assert "# resume the final run\ntune promote s" in note


def test_the_note_on_a_trial_says_why_it_ended_and_where_its_log_is(app, catalogue, filled, paths):
    trials = detail(app, catalogue)["trials"]
    notes = [trial["note"]["body"] for trial in trials]

    assert notes[0].startswith("*Default configuration*\n\n**Complete**: trained for all 9 epochs.")
    log, address = re.search(r"\| Log \| `(.+)` \(\[open\]\((.+)\)\) \|", notes[0]).groups()
    assert log == f"{paths.trial(0)}/trainer.log"
    assert ask(app, address)[2] == b"epoch 1\n"
    assert "*Winner*" in notes[1]
    assert notes[2].startswith("**Stopped early**: early stop at epoch 3")
    assert "paused after epoch 3; resumes if it turns out to be ahead" in notes[3]
    assert notes[4].startswith("**Running**: in training.")


def test_attributes_are_readable_and_user_attributes_stay(app, catalogue, study, filled, url):
    study.flush(10)
    known = optuna.load_study(storage=url, study_name="s")
    known.set_user_attr("ticket", "T-1")

    shown = detail(app, catalogue)
    assert attributes(shown)["ticket"] == "T-1"
    assert attributes(shown)["metric"] == "mAP50-95, higher is better"
    assert "spec" not in attributes(shown)
    first = attributes(shown["trials"][0])
    assert first["role"] == "default configuration"
    assert first["epochs"] == "9"
    assert first["mAP50"] == "0.25"
    assert not {"params", "judged", "log", "mAP50-95"} & set(first)


def test_the_role_of_a_trial_names_its_starting_point(study, filled):
    trial = study.trials()[1]
    started = replace(trial, facts=replace(trial.facts, origin="yolox (https://x.org)"))
    assert role(SimpleNamespace(winner=None), started) == "starting point yolox"


def test_a_paused_trial_waits_with_its_parameters_and_one_without_a_driver_is_not_running(app, catalogue, left):
    trials = detail(app, catalogue)["trials"]

    assert [trial["state"] for trial in trials] == ["Complete", "Complete", "Pruned", "Waiting", "Waiting"]
    # The dashboard shows the fixed parameters of a waiting trial.
    assert [param["name"] for param in trials[left.paused]["fixed_params"]] == ["lr0"]
    assert "interrupted" in trials[left.running]["note"]["body"]


def test_a_trial_in_training_is_running(app, catalogue, filled):
    assert detail(app, catalogue)["trials"][filled.running]["state"] == "Running"


def test_metric_and_direction_are_named_and_times_have_a_zone(app, catalogue, filled):
    shown = detail(app, catalogue)

    assert shown["objective_names"] == ["mAP50-95"]
    assert shown["directions"] == ["maximize"]
    assert shown["best_trials"][0]["number"] == 1
    assert shown["trials"][0]["datetime_start"].endswith("+00:00")


def test_changes_of_the_study_appear_in_the_dashboard(app, catalogue, study, filled):
    assert "paused after epoch 3" in detail(app, catalogue)["trials"][filled.paused]["note"]["body"]
    study.record(filled.paused, TrialFacts(paused_at=6))
    study.flush(10)

    fresh = ViewStorage(catalogue).get_trial(detail(app, catalogue)["trials"][filled.paused]["trial_id"])
    assert fresh.user_attrs["why"].startswith("paused after epoch 6")
    assert "paused after epoch 6" in detail(app, catalogue)["trials"][filled.paused]["note"]["body"]


@pytest.fixture
def readings(monkeypatch):
    """Return a list of the studies that are read from their databases, in order."""
    found, read = [], catalogue_module.read_facts

    def counted(study, paths):
        found.append(study.name)
        return read(study, paths)

    monkeypatch.setattr(catalogue_module, "read_facts", counted)
    return found


def test_a_study_that_nobody_drives_is_read_again_only_if_its_files_change(
    catalogue, left, paths, url, spec, monkeypatch, readings
):
    monkeypatch.setattr(catalogue_module, "STALE_S", 0.0)
    for _ in range(3):
        catalogue.views()
    assert readings == ["s"]
    with driven(url, spec, paths):
        (view,) = catalogue.views()
    assert view.facts.driver is not None
    (view,) = catalogue.views()
    assert view.facts.driver is None


def test_a_driven_study_is_read_again_even_if_its_files_are_the_same(catalogue, filled, monkeypatch, readings):
    monkeypatch.setattr(catalogue_module, "_signature", lambda entry: ((1, 1),))
    catalogue.views()
    catalogue.views()
    assert readings == ["s"]
    monkeypatch.setattr(catalogue_module, "STALE_S", 0.0)
    catalogue.views()
    assert readings == ["s", "s"]


def test_a_study_on_a_server_that_nobody_drives_is_read_again_after_a_while(
    tmp_path, spec, postgres, monkeypatch, readings
):
    shared, paths = postgres.new_database(), StudyPaths.of(tmp_path / "home", "a")
    paths.create()
    catalogue = Catalogue(tmp_path / "home", shared)
    with driven(shared, spec, paths, "a"):
        catalogue.views()
        catalogue.views()
    assert readings == ["a", "a"]
    catalogue.views()
    catalogue.views()
    assert readings == ["a", "a", "a"]
    monkeypatch.setattr(catalogue_module, "_QUIET_S", 0.0)
    catalogue.views()
    assert readings == ["a", "a", "a", "a"]


def test_a_dashboard_that_reads_never_writes_to_the_database(app, catalogue, left, paths):
    before = "\n".join(sqlite3.connect(paths.database).iterdump())
    detail(app, catalogue)
    ask(app, "/api/studies")

    assert "\n".join(sqlite3.connect(paths.database).iterdump()) == before


def test_reading_a_study_does_not_delay_its_driver(app, catalogue, study, filled, paths):
    detail(app, catalogue)
    connection = sqlite3.connect(paths.database, timeout=0)
    connection.execute("BEGIN EXCLUSIVE")  # fails if a reader has left a transaction open in the old journal
    connection.execute("ROLLBACK")
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0, "a reader that keeps its transaction keeps the log from being emptied"


def test_studies_of_one_home_have_distinct_numbers(tmp_path, spec, left, empty_database):
    other = StudyPaths.of(tmp_path, "other")
    other.create()
    other.database.write_bytes(empty_database.read_bytes())
    with driven(f"sqlite:///{other.database}", spec, other, "other") as study:
        study.flush(10)
    catalogue = Catalogue(tmp_path)
    storage = ViewStorage(catalogue)

    names = {study.study_name: study._study_id for study in storage.get_all_studies()}
    assert set(names) == {"s", "other"}
    assert len(storage.get_all_trials(names["s"])) == 5
    assert storage.get_all_trials(names["other"]) == []
    again = Catalogue(tmp_path)
    assert {name: again.study_number(name) for name in names} == names, "links last"
    only = ViewStorage(Catalogue(tmp_path, only="s"))
    assert [study.study_name for study in only.get_all_studies()] == ["s"]


@pytest.mark.parametrize("server", ["sqlite", "postgresql"])
def test_all_studies_of_a_database_are_shown(tmp_path, spec, space, terms, empty_database, request, server):
    if server == "sqlite":
        (tmp_path / "shared.db").write_bytes(empty_database.read_bytes())
        shared = f"sqlite:///{tmp_path}/shared.db"
    else:
        shared = request.getfixturevalue("postgres").new_database()
    for name in ("a", "b"):
        paths = StudyPaths.of(tmp_path / "home", name)
        paths.create()
        with driven(shared, spec, paths, name) as study:
            fill(study, space, paths, terms)

    catalogue = Catalogue(tmp_path / "home", shared)
    app = application(catalogue, None, is_read_only=False)
    assert [view.study.study_name for view in catalogue.views()] == ["a", "b"]
    shown = detail(app, catalogue, "b")
    assert "ahead of the default configuration" in shown["note"]["body"]
    assert ask(app, f"/api/studies/{catalogue.study_number('b')}/note", "PUT", {"version": 1, "body": "mine"})[0] == 204
    assert detail(app, catalogue, "b")["note"]["body"].endswith("mine")
    assert "mine" not in detail(app, catalogue, "a")["note"]["body"]


def test_a_new_study_appears_and_a_removed_one_disappears(tmp_path, left, paths):
    catalogue = Catalogue(tmp_path)
    assert catalogue.names() == ["s"]
    paths.database.rename(tmp_path / "elsewhere")
    assert catalogue.views() == []


@pytest.mark.parametrize("content", [b"", b"not a database at all", b"SQLite format 3\x00"])
def test_a_broken_study_is_listed_with_its_problem_and_hides_no_other(tmp_path, app, catalogue, left, content):
    broken = tmp_path / "broken" / "study.db"
    broken.parent.mkdir()
    broken.write_bytes(content)

    assert "**This study cannot be read**" in detail(app, catalogue, "broken")["note"]["body"]
    assert len(detail(app, catalogue, "s")["trials"]) == 5
    assert broken.read_bytes() == content


def test_a_folder_that_links_out_of_the_home_is_not_read(tmp_path, app, catalogue, left, paths):
    home = tmp_path / "home"
    home.mkdir()
    (home / "s").symlink_to(paths.root)
    catalogue = Catalogue(home)

    app = application(catalogue, None, is_read_only=False)
    assert "cannot be read" in detail(app, catalogue)["note"]["body"]
    assert detail(app, catalogue)["artifacts"] == []


def test_the_view_cannot_be_changed(catalogue, left):
    storage = ViewStorage(catalogue)
    number = catalogue.study_number("s")
    with pytest.raises(UsageError, match="changes none"):
        storage.delete_study(number)
    with pytest.raises(UsageError, match="changes none"):
        optuna.load_study(storage=storage, study_name="s").set_user_attr("a", 1)


@pytest.mark.parametrize("page", ["param_importances", "/csv"])
def test_optunas_analyses_of_trials_work_on_the_view(app, catalogue, left, page):
    number = catalogue.study_number("s")
    path = f"/csv/{number}" if page == "/csv" else f"/api/studies/{number}/{page}"
    status, _, content = ask(app, path)

    assert status == 200
    assert (b"lr0" in content) or json.loads(content)["param_importances"]


def test_a_user_of_the_stock_dashboard_finds_the_database_as_it_was(url, app, catalogue, left):
    detail(app, catalogue)
    assert "params" in stored(url)[0].user_attrs
