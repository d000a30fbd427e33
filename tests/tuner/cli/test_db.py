"""`tune db`: checks, copies, upgrades and refusals."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from datetime import datetime
from types import SimpleNamespace

import optuna
import psutil
import pytest
from typer.testing import CliRunner

from tests.tuner.storage.test_database import OLDER, ROOT, assert_holds, damage, fill, page_of, sound, told
from tuner.cli.main import app
from tuner.storage.database import open_storage, plain_engine
from tuner.storage.lease import study_lease
from tuner.storage.urls import sqlite_url

OLD_VERSIONS = {"2.10.1": "v2.6.0.a", "3.1.1": "v3.0.0.d"}
"""Version of the tables that each release of Optuna creates."""


@pytest.fixture
def file(paths):
    return paths.database


def tune_db(*arguments):
    """Run `tune db`. Return the exit code, and standard output followed by the error."""
    done = CliRunner().invoke(app, ["db", *map(str, arguments)], env={"TUNE_STORAGE": None})
    if done.exception is None or isinstance(done.exception, SystemExit):
        return done.exit_code, done.stdout
    return done.exception.exit_code, f"{done.stdout}{done.exception}"


def rows(file):
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return list(connection.iterdump())


# check


def test_a_sound_database_is_described(url):
    fill(url)
    code, said = tune_db("check", "--storage", url)
    assert code == 0
    for part in ("SQLite 3.", "round trip", "journal            wal", "integrity          ok", "No problems found."):
        assert part in said
    assert "1 COMPLETE, 1 FAIL, 1 PRUNED, 1 RUNNING (not made by tune)" in said


def test_a_study_is_found_by_name_and_recognised_as_ours(study, paths):
    code, said = tune_db("check", "s", "--home", paths.root.parent, "--json")
    found = json.loads(said)
    assert (code, found["studies"], found["foreign"], found["problems"]) == (0, {"s": {}}, [], [])
    assert found["facts"]["database"] == f"sqlite:///{paths.database}"


@pytest.mark.parametrize("verb", ["check", "backup", "upgrade"])
def test_a_missing_database_is_not_created(verb, tmp_path):
    code, said = tune_db(verb, "none", "--home", tmp_path)
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert "There is no database at" in said


@pytest.mark.parametrize("verb", ["check", "backup", "upgrade"])
def test_a_database_must_be_named(verb):
    code, said = tune_db(verb)
    assert code == 2
    assert "A database is required, but none is given; name its study, or add --storage URL" in said


def test_an_index_that_misses_a_row_is_a_problem(file, url):
    """Readers and writers of trials would not notice the damage."""
    sound(file)
    end = page_of(file, "ix_studies_study_name")[1]
    damage(file, end - 1, b"t")  # position of 's'
    code, said = tune_db("check", "--storage", url)
    assert code == 8
    assert "row 1 missing from index ix_studies_study_name" in said
    assert "it is damaged: restore a backup" in said


def test_an_unreadable_trial_is_a_problem(file, url):
    sound(file)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute('UPDATE trial_params SET distribution_json = \'{"name": "F>oat", "attributes": {}}\'')
        connection.commit()
    code, said = tune_db("check", "--storage", url)
    assert code == 8
    assert "The trials of 's' cannot be read (Unknown distribution class: F>oat)" in said


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_tables_of_an_older_optuna_are_a_problem_that_checking_does_not_touch(file, url, version):
    shutil.copy(OLDER / f"optuna-{version}.db", file)
    code, said = tune_db("check", "--storage", url)
    assert code == 8
    assert f"version {OLD_VERSIONS[version]}" in said
    assert "`tune db upgrade`" in said
    assert file.read_bytes() == (OLDER / f"optuna-{version}.db").read_bytes()


def test_sqlite_on_a_network_file_system_is_a_problem(file, url, tmp_path, monkeypatch):
    fill(url, trials=1)
    mounts = [SimpleNamespace(mountpoint=str(tmp_path), fstype="cifs")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    code, said = tune_db("check", "--storage", url)
    assert code == 8
    assert "file system        cifs" in said
    assert "SQLite needs a local disk" in said


def test_a_server_is_described(postgres):
    empty = postgres.new_database()
    code, said = tune_db("check", "--storage", empty)
    assert (code, "PostgreSQL 1" in said, "none: no study has been started here" in said) == (0, True, True)
    with plain_engine(empty) as engine, engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").scalar() == 0
    fill(empty)
    code, said = tune_db("check", "--storage", empty)
    assert code == 0
    assert "1 COMPLETE, 1 FAIL, 1 PRUNED, 1 RUNNING" in said
    assert postgres.password not in said


def test_a_server_that_does_not_answer_is_a_problem_with_exit_code_8(postgres):
    url = postgres.url(password="hunter2").replace(f":{postgres.port}/", ":1/")
    command = [sys.executable, "-m", "tuner", "db", "check", "--storage", url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 8
    assert "start the server, or correct host and port" in done.stdout
    assert done.stderr == "tune db check found 1 problem(s).\n"
    assert "hunter2" not in done.stdout + done.stderr


# backup


def test_a_copy_opens_and_holds_the_same(file, url, tmp_path):
    whole = fill(url)
    code, said = tune_db("backup", "--storage", url, "-o", tmp_path / "copy.db")
    assert (code, said) == (0, f"{tmp_path / 'copy.db'}\n")
    assert told(f"sqlite:///{tmp_path / 'copy.db'}") == whole
    assert {path.name for path in tmp_path.glob("*copy*")} == {"copy.db"}


def test_a_copy_is_made_while_a_driver_writes(file, url, tmp_path):
    """Check that each copy is the database at one moment: trials have no gap, and the last may be running."""
    fill(url, trials=1)
    enough = threading.Event()
    writer = threading.Thread(target=write_trials, args=(url, enough))
    writer.start()
    try:
        copies = [tmp_path / f"copy{number}.db" for number in range(3)]
        committed = []
        for copy in copies:
            committed.append(len(told(url)[3]))
            assert tune_db("backup", "--storage", url, "-o", copy)[0] == 0
    finally:
        enough.set()
        writer.join()
    for copy, least in zip(copies, committed, strict=True):
        trials = told(f"sqlite:///{copy}")[3]
        assert [trial[0] for trial in trials] == list(range(len(trials)))
        assert all(trial[1].is_finished() for trial in trials[:-1])
        assert len(trials) >= least
    assert len(told(url)[3]) > committed[0]


def write_trials(url, enough):
    study = optuna.load_study(storage=open_storage(url), study_name="s")
    while not enough.is_set():
        study.tell(study.ask(), 1.0)


def test_a_copy_is_named_after_database_and_time(file, url):
    fill(url, trials=1)
    _, said = tune_db("backup", "s", "--home", file.parents[1])
    copy = file.parent / said.strip().rpartition("/")[2]
    stamp = datetime.strptime(copy.name, "study-%Y%m%d-%H%M%S.db")
    assert abs((datetime.now() - stamp).total_seconds()) < 60
    assert copy.is_file()


def test_no_file_is_replaced_unless_requested(url, tmp_path):
    whole = fill(url, trials=1)
    precious = tmp_path / "precious.db"
    precious.write_text("precious")
    code, said = tune_db("backup", "--storage", url, "-o", precious)
    assert (code, precious.read_text()) == (2, "precious")
    assert "add --force" in said
    assert tune_db("backup", "--storage", url, "-o", precious, "--force")[0] == 0
    assert told(f"sqlite:///{precious}") == whole


def test_a_database_is_not_a_backup_of_itself(file, url, tmp_path):
    whole = fill(url, trials=1)
    (tmp_path / "link").symlink_to(file)
    for output in (file, tmp_path / "link"):
        code, said = tune_db("backup", "--storage", url, "-o", output, "--force")
        assert (code, "itself" in said) == (2, True)
    assert told(url) == whole


def test_a_missing_folder_is_reported(url, tmp_path):
    fill(url, trials=1)
    code, said = tune_db("backup", "--storage", url, "-o", tmp_path / "none" / "copy.db")
    assert code == 2
    assert "cannot be written: No such file or directory" in said


def test_a_damaged_database_leaves_no_backup(file, url, tmp_path):
    sound(file)
    damage(file, 4096 * 3, b"\xff" * 64)
    code, said = tune_db("backup", "--storage", url, "-o", tmp_path / "copy.db")
    assert (code, "malformed" in said) == (8, True)
    assert list(tmp_path.glob("*copy*")) == []


def test_a_copy_of_a_postgresql_database_is_an_sqlite_file_that_holds_the_same(postgres, tmp_path):
    url = postgres.new_database()
    wholes = {name: fill(url, name) for name in ("s", "another")}
    waiting = optuna.load_study(storage=open_storage(url), study_name="s")
    waiting.enqueue_trial({"lr0": 0.1})
    wholes["s"] = told(url)
    copy = tmp_path / "copy.db"
    code, said = tune_db("backup", "--storage", url, "-o", copy)
    assert (code, said) == (0, f"{copy}\n")
    assert {name: told(f"sqlite:///{copy}", name) for name in wholes} == wholes
    assert [trial[1].name for trial in wholes["s"][3]] == ["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"]


def test_an_empty_postgresql_database_has_nothing_to_copy(postgres, tmp_path):
    code, said = tune_db("backup", "--storage", postgres.new_database(), "-o", tmp_path / "copy.db")
    assert (code, list(tmp_path.iterdir())) == (8, [])
    assert "There are no studies" in said


# upgrade


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_after_an_upgrade_an_older_database_opens_and_holds_the_same_trials(file, url, version):
    old = OLDER / f"optuna-{version}.db"
    shutil.copy(old, file)
    code, said = tune_db("upgrade", "--storage", url)
    assert code == 0
    assert f"Upgraded from {OLD_VERSIONS[version]}." in said
    assert_holds(url, old.with_suffix(".json"))
    (copy,) = file.parent.glob("study-*.db")
    assert f"Copied to {copy}" in said
    assert rows(copy) == rows(old)


def test_nothing_is_upgraded_or_copied_without_need(file, url):
    whole = fill(url, trials=1)
    code, said = tune_db("upgrade", "--storage", url)
    assert (code, "Nothing to do" in said) == (0, True)
    assert list(file.parent.glob("study-*.db")) == []
    assert told(url) == whole


def make_older(url):
    """Make a database as Optuna 3.1 did: 3.2 added only an index."""
    with plain_engine(url) as engine, engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v3.0.0.d'")


def test_a_server_is_upgraded_only_if_the_user_confirms_having_a_copy(postgres):
    url = postgres.new_database()
    whole = fill(url)
    make_older(url)
    code, said = tune_db("upgrade", "--storage", url)
    assert code == 2
    assert "pg_dump" in said
    assert tune_db("check", "--storage", url)[0] == 8
    code, said = tune_db("upgrade", "--storage", url, "--yes")
    assert (code, said) == (0, "Upgraded from v3.0.0.d.\n")
    assert told(url) == whole


def test_no_table_is_changed_while_a_driver_runs(file, url):
    fill(url, trials=1)
    with study_lease(url, "s"):
        make_older(url)
        code, said = tune_db("upgrade", "--storage", url)
        assert code == 9
        assert "runs 's': stop it first" in said
        assert list(file.parent.glob("study-*.db")) == []
    assert tune_db("upgrade", "--storage", url)[0] == 0


def test_a_database_of_a_newer_optuna_is_not_upgraded(file, url):
    fill(url, trials=1)
    with plain_engine(url) as engine, engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    code, said = tune_db("upgrade", "--storage", url)
    assert (code, "created by a newer Optuna" in said) == (8, True)
    assert list(file.parent.glob("study-*.db")) == []


def test_a_database_without_studies_is_not_upgraded(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "recipes.db")) as connection:
        connection.execute("CREATE TABLE recipes (name)")
    code, said = tune_db("upgrade", "--storage", sqlite_url(tmp_path / "recipes.db"))
    assert (code, "There are no studies" in said) == (8, True)
