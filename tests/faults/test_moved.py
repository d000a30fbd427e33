"""Rows +i and +j: study, data set and model may be moved, and no trial fails because of it."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
import yaml

from tests.conftest import SCRIPTED_TRAINER
from tests.support.arena import Arena, assert_nothing_lost, assert_orderly_end
from tuner.storage.urls import sqlite_url


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data" / "data.yaml"
    path.parent.mkdir()
    path.write_text("names: [cat]\n")
    return path


def move_home(arena, name):
    """Rename the folder of studies, also in the arena, and return the options for the next run."""
    arena.home = arena.home.rename(arena.folder / name)
    arena.storage = sqlite_url(arena.study_folder / "study.db")
    return ["--home", name]


def reach(arena, process, *, epochs):
    arena.wait_for(lambda: process.poll() is not None or len(arena.events("epoch")) >= epochs)
    assert process.poll() is None, process.communicate()[0]


def interrupted(arena, **options):
    process = arena.start(epoch_seconds=0.15, **options)
    reach(arena, process, epochs=6)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 130)
    return arena.status()


def tune(arena, *arguments):
    """Run a verb that starts no Ray, with the scripted trainer."""
    environment = {**arena.environment, "TUNE_TRAINER": f"{sys.executable} {SCRIPTED_TRAINER}"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tuner", *arguments],
        cwd=arena.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_a_study_and_a_data_set_that_are_moved_during_the_search_resume_as_if_undisturbed(arena, data, tmp_path):
    before = interrupted(arena, more=["--data", str(data)])
    more = move_home(arena, "moved")
    data = data.parent.rename(tmp_path / "elsewhere") / "data.yaml"
    code, output = arena.run(more=[*more, "--data", str(data)])
    assert_orderly_end(code, output, 0)
    status = assert_nothing_lost(arena, before=None, most_redone=2)
    assert status["data"] == str(data)
    assert not (tmp_path / "studies").exists()
    for trial in status["trials"]:
        assert trial["directory"] == str(arena.study_folder / "trials" / f"{trial['number']:04d}")
    assert before["counts"]["WAITING"] >= 1


@pytest.mark.slow
def test_a_data_set_that_disappears_during_training_fails_no_trial(arena, data, tmp_path):
    arena.fault("1-5-vanish")
    process = arena.start(epoch_seconds=0.1, more=["--data", str(data)])
    arena.wait_for(lambda: not data.parent.exists())
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 5)
    assert f"'{data}', which trials read, does not exist any more. Restore it" in " ".join(output.split())
    before = arena.status()
    assert before["counts"]["FAIL"] == 0
    (tmp_path / "data-away").rename(data.parent)
    code, output = arena.run(more=["--data", str(data)])
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, before=before, most_redone=2)


@pytest.mark.slow
def test_a_finished_study_that_was_moved_is_promoted_exported_and_shown_from_its_new_place(arena, data, tmp_path):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"weights")
    code, output = arena.run(more=["--data", str(data), "--model", "weights.pt"])
    assert_orderly_end(code, output, 0)
    home = move_home(arena, "moved")
    moved = data.parent.rename(tmp_path / "elsewhere") / "data.yaml"

    # If the recorded data set is gone, one line says so, with the remedy.
    for verb in ("export", "promote"):
        code, _, err = tune(arena, verb, "s", *home)
        assert (code, len(err.splitlines())) == (4, 1), err
        assert "give its new path with --data" in err

    shutil.copy(moved, tmp_path / "other.yaml")
    (tmp_path / "other.yaml").write_text("names: [dog]\n")
    code, _, err = tune(arena, "export", "s", *home, "--data", "other.yaml")
    assert code == 3
    assert "settings: data set " in err

    code, _, err = tune(arena, "export", "s", *home, "--data", str(moved))
    assert code == 0, err
    written = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert (written["data"], written["model"]) == (str(moved), str(weights))

    weights = weights.rename(tmp_path / "renamed.pt")
    code, _, err = tune(arena, "export", "s", *home, "--data", str(moved))
    assert (code, "give its new path with --model" in err) == (2, True), err
    code, out, err = tune(arena, "promote", "s", *home, "--data", str(moved), "--model", "renamed.pt", "--plain")
    assert code == 0, err
    code, out, _ = tune(arena, "status", "s", *home, "--json")
    status = json.loads(out)
    assert (status["data"], status["model"]) == (str(moved), str(weights))
    checkpoint = arena.study_folder / "promoted"
    assert status["final_run"]["checkpoint"].startswith(str(checkpoint))
    home = move_home(arena, "again")
    status = json.loads(tune(arena, "status", "s", *home, "--json")[1])
    assert status["final_run"]["checkpoint"].startswith(str(arena.study_folder))
    assert (tmp_path / status["final_run"]["checkpoint"]).is_file()


def changed(path):
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["data set", "model"])
def test_changed_content_is_refused_before_a_trial_is_touched(arena, data, tmp_path, what):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"weights")
    more = ["--data", str(data), "--model", "weights.pt"]
    before = interrupted(arena, more=more)
    file = data if what == "data set" else weights
    changed(file)
    code, output = arena.run(more=more)
    assert_orderly_end(code, output, 3)
    assert f"settings: content of the {what} {file} (sha256 " in output
    assert arena.status() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("take", "told"),
    [
        (lambda folder: (folder / "study.db").unlink(), "study.db' was removed"),
        pytest.param(
            lambda folder: shutil.copy(folder / "backup.db", folder / "new.db").replace(folder / "study.db"),
            "study.db' was replaced by another",
        ),
        pytest.param(lambda folder: (folder / "journal.jsonl").unlink(), "journal.jsonl' was removed"),
        pytest.param(lambda folder: (folder / "study.db-wal").unlink(), "study.db-wal' was removed"),
    ],
)
def test_a_record_that_is_removed_ends_the_run_in_order_and_the_same_command_resumes(arena, take, told):
    process = arena.start(epoch_seconds=0.15)
    reach(arena, process, epochs=3)
    with (
        closing(sqlite3.connect(arena.study_folder / "study.db")) as source,
        closing(sqlite3.connect(arena.study_folder / "backup.db")) as target,
    ):
        source.backup(target)
    reach(arena, process, epochs=15)
    before = arena.status()
    take(arena.study_folder)
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 8)
    assert told in " ".join(output.split())
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    status = assert_nothing_lost(arena, most_redone=2)
    for trial in before["trials"]:
        if trial["state"] in ("COMPLETE", "PRUNED"):
            assert status["trials"][trial["number"]]["value"] == trial["value"]


@pytest.mark.slow
def test_a_study_that_is_moved_while_it_runs_ends_in_order_and_resumes_in_its_new_place(arena):
    process = arena.start(epoch_seconds=0.15)
    reach(arena, process, epochs=12)
    more = move_home(arena, "moved")
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 8)
    assert f"was moved to '{arena.study_folder}'" in " ".join(output.split())
    assert arena.status()["counts"]["FAIL"] == 0
    code, output = arena.run(more=more)
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, most_redone=4)


def listed(output):
    """Return the names in the first column of the table of studies."""
    return [line.split()[0] for line in output.splitlines()[1:] if " unreadable" in line and ":" not in line]


def test_the_list_shows_each_study_of_the_database_and_of_the_folders_once(tmp_path):
    arena = Arena(tmp_path, storage=sqlite_url(tmp_path / "shared.db"))
    from optuna import create_study

    from tuner.storage.database import open_storage
    from tuner.study._stored_study import SPEC

    storage = open_storage(arena.storage)
    for name in ("shared", "both"):
        create_study(storage=storage, study_name=name).set_user_attr(SPEC, {"metric": "mAP50"})
    create_study(storage=storage, study_name="not-ours")
    storage.engine.dispose()
    for name in ("both", "own"):
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "study.db").touch()
    assert listed(tune(arena, "status")[1]) == ["both", "own", "shared"]  # TUNE_STORAGE
    del arena.environment["TUNE_STORAGE"]
    assert listed(tune(arena, "status")[1]) == ["both", "own"]
    told = json.loads(tune(arena, "status", "--json", "--storage", arena.storage)[1])
    assert [study["name"] for study in told["studies"]] == ["both", "own", "shared"]
    code, out, err = tune(arena, "status", "--home", "none", "--storage", sqlite_url(tmp_path / "none.db"))
    assert (code, out) == (0, "")
    assert "none.db yet" in err
    assert not (tmp_path / "none.db").exists()
    code, _, err = tune(arena, "status", "own", "--storage", arena.storage)
    assert code == 2
    assert "contains a study of this name; omit --storage and TUNE_STORAGE" in err
