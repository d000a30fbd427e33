"""Read a database without changing it; its studies share its connections."""

import warnings
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy import event, text

from tests.tuner.conftest import driven
from tuner.exceptions import StorageError, UsageError
from tuner.report.studies import summaries
from tuner.storage.bulk_reading import has_newest_tables
from tuner.storage.database import open_storage, plain_engine
from tuner.study import StoredStudy, StudyDatabase


@pytest.fixture(params=["sqlite", "postgresql"])
def new(request, tmp_path):
    """Return the URL of an empty database."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").new_database()
    (tmp_path / "empty.db").touch()
    return f"sqlite:///{tmp_path / 'empty.db'}"


@contextmanager
def counted(kind):
    """Collect the events of this kind on all engines."""
    events = []

    def listener(*details):
        events.append(details)

    event.listen(sqlalchemy.Engine, kind, listener)
    yield events
    event.remove(sqlalchemy.Engine, kind, listener)


def several(url, spec, paths, names):
    for name in names:
        with driven(url, spec, paths, name=name):
            pass


def test_reading_creates_no_tables(new):
    with StudyDatabase(new) as database:
        assert database.names() == set()
    with pytest.raises(UsageError, match="There is no study 's'"):
        StoredStudy.open(new, "s")
    with plain_engine(new) as engine:
        assert sqlalchemy.inspect(engine).get_table_names() == []


def test_tables_that_appear_after_the_first_look_are_read(new, spec, paths):
    with StudyDatabase(new) as database:
        assert database.names() == set()
        several(new, spec, paths, ["s"])
        assert database.names() == {"s"}


def test_a_file_that_is_removed_is_not_created_again(url, spec, paths):
    several(url, spec, paths, ["s"])
    with StudyDatabase(url) as database:
        assert database.names() == {"s"}
        for file in paths.root.glob("study.db*"):
            file.unlink()
        assert database.names() == set()
    assert not paths.database.exists()


def test_a_study_of_another_program_is_not_ours(study, url):
    optuna.create_study(storage=url, study_name="foreign")
    with StudyDatabase(url) as database:
        assert database.names() == {"s"}


def test_the_version_that_optuna_needs_is_recognised_without_alembic(new):
    storage = open_storage(new)
    assert storage.get_current_version() == storage.get_head_version()
    assert has_newest_tables(storage.engine)
    with storage.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v3.0.0.d'"))
    assert not has_newest_tables(storage.engine)


@pytest.mark.parametrize(
    ("version", "problem"), [("v3.0.0.d", "older Optuna: .* Run `tune db upgrade`"), ("v9", "newer Optuna")]
)
def test_tables_of_another_version_are_refused(new, version, problem):
    with open_storage(new).engine.begin() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{version}'"))
    with pytest.raises(StorageError, match=problem), StudyDatabase(new) as database:
        database.names()


def test_tables_of_optuna_alone_are_read(new):
    study = optuna.create_study(storage=RDBStorage(new), study_name="theirs", direction="minimize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["loss"])
    study.add_trial(optuna.create_trial(value=0.5))
    found = StoredStudy.open(new, "theirs")
    assert (found.is_ours, found.objective.name, found.objective.maximised) == (False, "loss", False)
    assert [trial.value for trial in found.trials()] == [0.5]


def test_a_study_that_was_deleted_and_created_again_is_read_as_a_new_one(new):
    storage = RDBStorage(new)
    optuna.create_study(storage=storage, study_name="s").add_trial(optuna.create_trial(value=0.1))
    optuna.create_study(storage=storage, study_name="last")  # or SQLite would give the same number again
    found = StoredStudy.open(new, "s")
    assert [trial.value for trial in found.trials()] == [0.1]
    optuna.delete_study(storage=storage, study_name="s")
    optuna.create_study(storage=storage, study_name="s").add_trial(optuna.create_trial(value=0.2))
    assert [trial.value for trial in found.trials()] == [0.2]


def test_a_list_of_many_studies_takes_few_connections_and_a_constant_number_of_queries_each(new, spec, paths):
    queries = {}
    for number in (2, 4):
        several(new, spec, paths, [f"study-{at}" for at in range(number)])
        with counted("before_cursor_execute") as executed, counted("connect") as connected:
            assert len(summaries(Path("/none"), [], [new])) == number
        queries[number] = len(executed)
        assert len(connected) <= 2
    assert queries[4] - queries[2] <= 2 * 14
