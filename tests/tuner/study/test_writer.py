"""The writer: the driver never waits for the database, and no change is lost or out of order."""

import threading
import time

import pytest

from tests.support.clock import Clock
from tests.tuner.study.test_journal import no_file_larger_than
from tuner.exceptions import MachineError, StorageError, StudyChangedError, StudyLockedError
from tuner.study import _writer
from tuner.study._changes import Change
from tuner.study._journal import Journal
from tuner.study._writer import Writer

CHANGES = [Change(trial=number) for number in range(20)]


class FakeLease:
    """Lease that is held until it is lost."""

    lost = False

    def ensure(self):
        if self.lost:
            raise StudyLockedError("another driver has it")


class Database:
    """Database that takes changes, unless it is unavailable, blocks, or refuses."""

    def __init__(self):
        self.taken = []
        self.problem = None
        self.calls = 0
        self.entered = threading.Event()
        self.free = threading.Event()
        self.free.set()

    def __call__(self, change):
        self.calls += 1
        if self.problem is not None:
            raise self.problem
        self.entered.set()
        assert self.free.wait(30)
        self.taken.append(change)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(_writer, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(_writer, "_LONGEST_PAUSE_S", 0.004)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


@pytest.fixture
def database():
    return Database()


@pytest.fixture
def lease():
    return FakeLease()


@pytest.fixture
def told():
    return []


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def writer(path, lease, database, told, clock):
    writer = Writer(Journal(path), lease, database, told.append, now_s=clock.monotonic)
    yield writer
    database.free.set()
    writer.close(5)


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_changes_reach_the_database_in_their_order(writer, database, path):
    for change in CHANGES:
        writer.put(change)
    assert writer.flush(10)
    assert database.taken == CHANGES
    assert path.read_bytes() == b""


def test_the_driver_does_not_wait_for_a_database_that_blocks(writer, database, path):
    database.free.clear()
    for change in CHANGES:
        writer.put(change)  # returns, although nothing can be written before the end of this test
    assert database.taken == []
    assert Journal(path).read() == tuple(CHANGES)
    assert not writer.flush(0.01)
    database.free.set()
    assert writer.flush(10)
    assert database.taken == CHANGES


def test_an_unavailable_database_gets_everything_later_and_both_are_reported_once(writer, database, told, path, clock):
    database.problem = StorageError("The database cannot be used: connection refused.")
    for change in CHANGES:
        writer.put(change)
    wait_for(lambda: database.calls > 5)
    assert told == [
        "The database cannot be used: connection refused. Training continues, and its results are saved in the journal."
    ]
    assert Journal(path).read() == tuple(CHANGES)
    clock.sleep(40.0)
    database.problem = None
    assert writer.flush(10)
    assert database.taken == CHANGES
    assert told[1:] == ["the database is available again after 40 s; all pending changes are written"]
    assert path.read_bytes() == b""


def test_each_outage_is_reported(writer, database, told):
    for absence in range(1, 3):
        database.problem = StorageError("away")
        writer.put(CHANGES[0])
        wait_for(lambda absence=absence: len(told) == 2 * absence - 1)
        database.problem = None
        assert writer.flush(10)
        assert len(told) == 2 * absence


def test_the_journal_keeps_all_changes_until_the_last_is_written(writer, database, path):
    database.free.clear()
    writer.put(CHANGES[0])
    writer.put(CHANGES[1])
    assert Journal(path).read() == tuple(CHANGES[:2])
    assert database.entered.wait(10)
    database.problem = StorageError("away")
    database.free.set()
    wait_for(lambda: database.taken == CHANGES[:1] and database.calls > 3)
    assert Journal(path).read() == tuple(CHANGES[:2])


@pytest.mark.parametrize("problem", [StudyChangedError("not ours"), ZeroDivisionError("a bug")])
def test_an_error_that_prevents_writing_is_raised_at_the_next_change_and_check(writer, database, path, problem):
    database.problem = problem
    writer.put(CHANGES[0])
    assert not writer.flush(10)
    for raising in (writer.check, lambda: writer.put(CHANGES[1])):
        with pytest.raises(type(problem)):
            raising()
    assert Journal(path).read() == (CHANGES[0],)
    assert database.calls == 1


def test_nothing_is_written_without_the_lease(writer, lease, database, path):
    lease.lost = True
    writer.put(CHANGES[0])
    assert not writer.flush(10)
    with pytest.raises(StudyLockedError):
        writer.put(CHANGES[1])
    assert database.taken == []
    assert Journal(path).read() == (CHANGES[0],)


def test_no_change_is_accepted_after_one_that_did_not_reach_the_disk(writer, database, path):
    with no_file_larger_than(10), pytest.raises(MachineError):
        writer.put(Change(trial=0, attributes={"device": "x" * 100}))
    for raising in (writer.check, lambda: writer.put(CHANGES[1])):
        with pytest.raises(MachineError):
            raising()
    assert path.read_bytes() == b""


def test_closing_writes_as_much_as_possible(path, lease, database, told):
    writer = Writer(Journal(path), lease, database, told.append)
    for change in CHANGES:
        writer.put(change)
    writer.close(10)
    assert database.taken == CHANGES
    assert path.read_bytes() == b""


def test_closing_gives_up_on_an_unavailable_database_and_leaves_the_rest_in_the_journal(
    path, lease, database, told, monkeypatch
):
    monkeypatch.setattr(_writer, "_FIRST_PAUSE_S", 60.0)
    writer = Writer(Journal(path), lease, database, told.append)
    database.problem = StorageError("away")
    writer.put(CHANGES[0])
    wait_for(lambda: told)
    writer.close(20)  # one last attempt, and not after a minute
    assert not writer._thread.is_alive()
    assert Journal(path).read() == (CHANGES[0],)


def test_closing_gives_up_on_a_database_that_blocks_and_never_touches_the_journal_again(path, lease, database, told):
    database.free.clear()
    writer = Writer(Journal(path), lease, database, told.append)
    for change in CHANGES[:2]:
        writer.put(change)
    writer.close(0.01)
    assert Journal(path).read() == tuple(CHANGES[:2])
    database.free.set()
    writer._thread.join(10)
    assert not writer._thread.is_alive()
    assert database.taken == CHANGES[:1]
    assert Journal(path).read() == tuple(CHANGES[:2])  # it may now belong to the next driver
