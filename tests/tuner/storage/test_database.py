"""Databases: the meaning of a URL, the safety of stored data, and error messages."""

import contextlib
import json
import os
import pwd
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import optuna
import psutil
import pytest
import sqlalchemy
from optuna.trial import TrialState

from tuner.exceptions import StorageError, UsageError
from tuner.storage.database import open_storage, schema_problem, translated
from tuner.storage.urls import masked, parsed_url, sqlite_path, sqlite_url

ROOT = Path(__file__).parents[3]
OLDER = Path(__file__).parents[2] / "data" / "older_databases"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "study.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, file):
    """Return the URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{file}"
    return request.getfixturevalue("postgres").new_database()


def scalar(storage, statement):
    with storage.engine.connect() as connection:
        return connection.exec_driver_sql(statement).scalar()


def fill(url, name="s", trials=4):
    """Create a study with trials of several states. Return the result of `told` for it."""
    storage = open_storage(url)
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    study.set_user_attr("note", {"of": ["the", "study"]})
    for number in range(trials):
        trial = study.ask()
        trial.suggest_float("lr0", 1e-4, 1.0, log=True)
        trial.suggest_categorical("optimizer", ["SGD", "AdamW"])
        trial.set_user_attr("metrics", {"mAP50-95": number / 3})
        trial.report(number / 7, step=1)
        trial.report(float("inf"), step=2)
        if number % 4 == 1:
            study.tell(trial, state=TrialState.PRUNED)
        elif number % 4 == 2:
            study.tell(trial, state=TrialState.FAIL)
        elif number % 4 == 0:
            study.tell(trial, number / 3)
    storage.engine.dispose()
    return told(url, name)


def told(url, name="s"):
    """Return everything that a database has about a study."""
    storage = open_storage(url)
    study = optuna.load_study(storage=storage, study_name=name)
    trials = [
        (t.number, t.state, t.values, t.params, t.distributions, t.intermediate_values, t.user_attrs, t.system_attrs)
        for t in study.get_trials()
    ]
    times = [(t.datetime_start, t.datetime_complete) for t in study.get_trials()]
    facts = study.user_attrs, study.directions, study.metric_names, trials, times
    storage.engine.dispose()
    return facts


@contextlib.contextmanager
def unprivileged(file):
    """Act as a user with limited permissions; root ignores them."""
    if os.geteuid() != 0:
        yield
        return
    for folder in file.parent.parents:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


# Meaning of a URL


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://me@host/name", "postgresql+psycopg"),
        ("postgres://me@host/name", "postgresql+psycopg"),
        ("postgresql+psycopg2://me@host/name", "postgresql+psycopg2"),
        ("sqlite:///study.db", "sqlite"),
    ],
)
def test_postgresql_means_psycopg_3_unless_the_url_names_a_driver(url, driver):
    assert parsed_url(url).drivername == driver


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "",
        "postgresq://me@host/name",
        "postgresql://me:hunter2@host:x/name",
        "postgresql://me:p@hunter2@host/name",
    ],
)
def test_an_invalid_database_url_is_reported_without_its_password(url):
    with pytest.raises(UsageError, match="--storage must be a database URL") as caught:
        parsed_url(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__  # it may quote the password


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:study.db?uri=true"])
def test_a_database_in_memory_is_refused(url):
    with pytest.raises(UsageError, match="as the path of a file"):
        sqlite_path(url)


@pytest.mark.parametrize(
    "query",
    ["password", "passfile", "sslpassword", "PASSWORD", "oauth_client_secret", "password=x&sslmode=require&passfile"],
)
def test_no_password_in_a_url_is_shown(query):
    shown = masked(f"postgresql://me:hunter2@host/name?{query}=hunter2")
    assert "hunter2" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "reason",
    [
        "cannot connect with host=h password=hunter2 user=me",
        "cannot connect with password = 'p@ss word'",
        "invalid URL postgresql://me:hunter2@h",
        "invalid URL postgresql://me:p%40ss%20word@h",
        "sslpassword=other is wrong",
    ],
)
def test_no_password_in_an_error_of_a_driver_is_shown(reason):
    url = "postgresql://me:p%40ss%20word@h/name?password=hunter2"
    with pytest.raises(StorageError) as caught, translated(url):
        raise sqlalchemy.exc.OperationalError("", {}, Exception(reason))
    for secret in ("hunter2", "p@ss word", "p%40ss%20word", "other"):
        assert secret not in str(caught.value)


def test_without_psycopg_the_command_that_installs_it_is_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StorageError, match=r"pip install 'mamba-yolo-tuner\[postgres\]'") as caught:
        open_storage("postgresql://me:hunter2@host/name")
    assert "hunter2" not in str(caught.value)


# Safety of stored data


def test_a_study_comes_back_as_it_was_written(either):
    written = fill(either)
    assert told(either) == written
    assert [trial[1].name for trial in written[3]] == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]


def test_nothing_committed_to_sqlite_is_lost_when_the_power_fails(file):
    storage = open_storage(f"sqlite:///{file}")
    assert scalar(storage, "PRAGMA journal_mode") == "wal"
    assert scalar(storage, "PRAGMA synchronous") == 2  # FULL: the log is synced at every commit


def test_odd_characters_in_a_path_are_part_of_the_path(tmp_path):
    file = tmp_path / "a {b} %20 é?x=1#y" / "study.db"
    file.parent.mkdir()
    assert sqlite_path(sqlite_url(file)) == file
    fill(sqlite_url(file), trials=1)
    assert file.is_file()


def test_a_database_that_another_program_holds_is_waited_for(file):
    """Hold the database for longer than the 5 s that Python waits by default."""
    url = f"sqlite:///{file}"
    fill(url)
    storage = open_storage(url)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        timer = threading.Timer(6.0, lambda: other.execute("COMMIT"))
        timer.start()
        optuna.create_study(storage=storage, study_name="waited")
        timer.join()
    assert set(optuna.get_all_study_names(storage)) == {"s", "waited"}


CREATOR = """
import os, sys
import alembic.command, alembic.migration, alembic.script, optuna, psycopg, sqlalchemy.orm
from tuner.storage.database import open_storage
optuna.logging.set_verbosity(optuna.logging.ERROR)
go, start = os.pipe()
children = []
for number in range(8):
    pid = os.fork()
    if pid == 0:
        os.close(start)
        os.read(go, 1)
        study = optuna.create_study(storage=open_storage(sys.argv[1]), study_name="s", load_if_exists=True)
        study.tell(study.ask(), number)
        os._exit(0)
    children.append(pid)
os.close(start)
sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in children))
"""


def test_eight_processes_that_create_the_same_study_at_once_share_it(either):
    done = subprocess.run(
        [sys.executable, "-c", CREATOR, either], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    study = optuna.load_study(storage=open_storage(either), study_name="s")
    assert sorted((trial.number, trial.state) for trial in study.trials) == [(n, TrialState.COMPLETE) for n in range(8)]
    assert sorted(trial.value for trial in study.trials) == list(range(8))


def test_a_connection_that_was_cut_while_idle_is_replaced_silently(postgres):
    study = optuna.create_study(storage=open_storage(postgres.new_database()))
    study.tell(study.ask(), 1.0)
    assert postgres.terminate_backends() > 0
    study.tell(study.ask(), 2.0)
    assert [trial.value for trial in study.trials] == [1.0, 2.0]


def test_nothing_is_prepared_on_a_server_that_a_pooler_may_swap(postgres):
    storage = open_storage(postgres.new_database())
    study = optuna.create_study(storage=storage)
    for number in range(12):
        study.set_user_attr("note", number)
    assert scalar(storage, "SELECT count(*) FROM pg_prepared_statements") == 0


def test_the_server_sees_our_application_name_unless_the_url_sets_another(postgres):
    url = postgres.new_database()
    assert scalar(open_storage(url), "SHOW application_name") == "mamba-yolo-tuner"
    assert scalar(open_storage(f"{url}?application_name=theirs"), "SHOW application_name") == "theirs"
    assert scalar(open_storage(url), "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'") == 0


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_in_another_encoding_than_utf_8_works(postgres, encoding):
    name = f"in_{encoding.lower()}"
    postgres.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    storage = open_storage(postgres.url(name))
    study = optuna.create_study(storage=storage, study_name="größe")
    study.set_user_attr("note", "für alle")
    assert optuna.load_study(storage=open_storage(postgres.url(name)), study_name="größe").user_attrs == {
        "note": "für alle"
    }


# Network file systems


def test_sqlite_on_a_network_file_system_is_refused_with_advice(file, tmp_path, monkeypatch):
    mounts = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    with pytest.raises(StorageError, match=r"study.db' is on nfs4. Give --storage a local path .* PostgreSQL") as told:
        open_storage(f"sqlite:///{file}")
    assert "the study's folder can stay" in str(told.value)
    assert not file.exists()


# Error messages


def sound(file, trials=8):
    """Create a database whose every byte is in its one file. Return its content."""
    written = fill(f"sqlite:///{file}", trials=trials)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return written


def page_of(file, name):
    """Return the start and the end of the first page of a table or index."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        (number,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return (number - 1) * size, number * size


def damage(file, offset, new):
    """Replace some bytes of the file."""
    content = bytearray(file.read_bytes())
    content[offset : offset + len(new)] = new[: len(content) - offset]
    file.write_bytes(content)


@pytest.mark.parametrize("offset", [0, 20])
def test_a_damaged_header_is_reported(file, offset):
    sound(file, trials=1)
    damage(file, offset, b"\xff" * 16)
    with pytest.raises(StorageError, match="restore a backup"):
        open_storage(f"sqlite:///{file}")


def test_damage_in_the_middle_of_the_file_is_reported_before_anything_is_written(file):
    sound(file)
    damage(file, page_of(file, "trial_intermediate_values")[0], b"\xff" * 64)  # a table that is not read on opening
    before = file.read_bytes()
    with pytest.raises(StorageError, match=r"malformed.*; it is damaged: restore a backup"):
        open_storage(f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_damage_anywhere_in_a_database_is_reported_in_one_line_or_loses_nothing(file):
    whole = sound(file)
    content = file.read_bytes()
    chance = random.Random(1)
    outcomes = []
    for _ in range(20):
        file.write_bytes(content)
        damage(file, chance.randrange(len(content)), chance.randbytes(100))
        try:
            with translated(f"sqlite:///{file}"):
                outcomes.append("same" if told(f"sqlite:///{file}") == whole else "changed")
        except StorageError as problem:
            outcomes.append("told" if "\n" not in str(problem) else str(problem))
    assert set(outcomes) == {"same", "told"}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trial_user_attributes SET value_json = '{'",
        "UPDATE trial_user_attributes SET value_json = CAST(x'ff' AS TEXT)",
        "UPDATE trials SET state = 'COMPLETF'",
    ],
)
def test_an_invalid_stored_value_is_reported(file, change):
    sound(file, trials=1)
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(change)
    with (
        pytest.raises(StorageError, match="it is damaged: restore a backup"),
        translated(f"sqlite:///{file}"),
    ):
        told(f"sqlite:///{file}")


def test_a_file_that_is_not_a_database_is_reported_and_not_changed(file):
    file.write_text("this is no database, and long enough to be looked at " * 40)
    before = file.read_bytes()
    with pytest.raises(StorageError, match="file is not a database; give another file with --storage"):
        open_storage(f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(StorageError, match="unable to open database file; check that its folder exists"):
        open_storage(f"sqlite:///{tmp_path / 'none' / 'study.db'}")


def test_a_read_only_file_can_be_read_and_the_first_write_is_reported(file):
    url = f"sqlite:///{file}"
    whole = sound(file, trials=1)
    file.chmod(0o444)
    file.parent.chmod(0o777)
    with unprivileged(file):
        assert told(url) == whole
        study = optuna.load_study(storage=open_storage(url), study_name="s")
        with (
            pytest.raises(StorageError, match="give this user write access to the file and its folder"),
            translated(url),
        ):
            study.set_user_attr("note", "")


def test_a_file_in_a_read_only_folder_is_reported(file):
    sound(file, trials=1)
    file.chmod(0o444)
    file.parent.chmod(0o555)
    with (
        unprivileged(file),
        pytest.raises(StorageError, match="give this user write access to the file and its folder"),
    ):
        open_storage(f"sqlite:///{file}")


@pytest.mark.parametrize("version", ["2.10.1", "3.1.1"])
def test_a_database_of_an_older_optuna_names_the_upgrade_and_stays_as_it_was(file, version):
    shutil.copy(OLDER / f"optuna-{version}.db", file)
    with pytest.raises(StorageError, match=r"created by an older Optuna.* Run `tune db upgrade`, after a backup"):
        open_storage(f"sqlite:///{file}")
    with (
        contextlib.closing(sqlite3.connect(file)) as ours,
        contextlib.closing(sqlite3.connect(OLDER / f"optuna-{version}.db")) as theirs,
    ):
        assert list(ours.iterdump()) == list(theirs.iterdump())


def test_a_database_of_optuna_4_opens_as_it_is(file):
    shutil.copy(OLDER / "optuna-4.2.1.db", file)
    assert_holds(f"sqlite:///{file}", OLDER / "optuna-4.2.1.json")


def assert_holds(url, expected):
    """Check that the database holds all trials that the older Optuna saw."""
    trials = [
        {
            "number": trial.number,
            "state": trial.state.name,
            "value": trial.value if trial.state == TrialState.COMPLETE else None,
            "params": trial.params,
            "curve": {str(step): value for step, value in trial.intermediate_values.items()},
            "attributes": trial.user_attrs,
        }
        for trial in optuna.load_study(storage=open_storage(url), study_name="old").trials
    ]
    assert trials == json.loads(expected.read_text())


def test_a_database_of_a_newer_optuna_is_reported(either):
    storage = open_storage(either)
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    assert "v9.0.0.a" in schema_problem(storage, either)
    with pytest.raises(StorageError, match=r"created by a newer Optuna.* Install a newer mamba-yolo-tuner"):
        open_storage(either)


def test_every_refusal_of_a_server_has_its_remedy(postgres):
    postgres.execute("CREATE USER poor PASSWORD 'poor'")
    url = postgres.url()
    ways = {
        postgres.url(password="wr0ngword"): "correct the user or the password",
        postgres.url("none"): "create the database with createdb",
        url.replace(f":{postgres.port}/", ":1/"): "start the server, or correct host and port",
        url.replace("127.0.0.1", "no.such.host.invalid"): "correct the host in --storage",
        postgres.url(user="poor", password="poor"): "the right to create and write tables",
        f"{url}?options=-cdefault_transaction_read_only%3Don": "give the primary server",
    }
    for refused, remedy in ways.items():
        with pytest.raises(StorageError, match=remedy) as caught:
            open_storage(refused)
        text = str(caught.value)
        assert "\n" not in text
        assert not any(secret in text for secret in (postgres.password, "wr0ngword"))


def test_a_server_that_hangs_is_reported_after_the_timeout_in_the_url(postgres):
    url = f"{postgres.new_database()}?connect_timeout=2"
    postgres.freeze()
    try:
        with pytest.raises(StorageError, match="check that the server runs and that no firewall blocks it"):
            open_storage(url)
    finally:
        postgres.thaw()


def test_the_same_storage_works_again_after_a_crash_of_the_server(postgres):
    url = postgres.new_database()
    study = optuna.create_study(storage=open_storage(url))
    study.tell(study.ask(), 1.0)
    postgres.stop_immediately()
    with pytest.raises(StorageError, match="start the server"), translated(url):
        study.ask()
    postgres.start()
    study.tell(study.ask(), 2.0)
    assert [trial.value for trial in study.trials] == [1.0, 2.0]
