"""The queue in real databases, and its keeper on a scripted cluster."""

import threading
from dataclasses import replace

import pytest

from tests.support.clock import Clock
from tuner.exceptions import UsageError
from tuner.storage.urls import sqlite_url
from tuner.study_queue.entries import MOST_SPACE_BYTES, State, Submission
from tuner.study_queue.keeper import LONG_S, MOST_FAILURES, Fate, Keeper, change_after_failure
from tuner.study_queue.table import opened_queue, queue_folder, queue_url


class Cluster:
    """Cluster that can lose its jobs or stop answering."""

    def __init__(self):
        self.alive = {}
        self.devices = 8
        self.is_silent = False

    def start(self, entry, job):
        assert job not in self.alive, "a job is started once"
        self.alive[job] = entry.submission.study

    def fate(self, job):
        if self.is_silent:
            return Fate.UNKNOWN
        return Fate.ALIVE if job in self.alive else Fate.GONE

    def lose(self, study):
        self.alive = {job: name for job, name in self.alive.items() if name != study}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "new" / "queue.db")
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def table(url, clock):
    with opened_queue(url, clock.monotonic) as table:
        yield table


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def keeper(table, cluster, clock):
    return Keeper(table, cluster, lambda: cluster.devices, clock.monotonic)


def submission(study, **fields):
    return Submission(study=study, owner="ann", space_name="small", space="parameters: {}", **fields)


def granted(table):
    return {entry.submission.study: entry.granted for entry in table.entries()}


def run_of(table, study):
    return table.latest_of(study)


def test_a_submission_is_read_back_as_it_was(table):
    mine = submission("a", arguments=("--set", "imgsz=64", "--notify", "ü"), priority=-3, most=2)
    assert table.add(mine).submission == mine
    assert [entry.submission for entry in table.entries()] == [mine]


def test_arguments_and_spaces_which_may_hold_secrets_are_not_described(table):
    entry = table.add(submission("a", arguments=("--trainer", "secret-token")))
    assert "secret-token" not in str(entry.described())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"priority": 101}, "--priority must be a whole number from -100 to 100, but got 101"),
        ({"most": 0}, "--gpus must be at least 1 in a queue, but got 0"),
        ({"space": "#" * (MOST_SPACE_BYTES + 1)}, f"at most {MOST_SPACE_BYTES} bytes, but it has"),
    ],
)
def test_a_submission_out_of_bounds_is_refused(fields, told):
    with pytest.raises(UsageError, match=told):
        replace(submission("a"), **fields)


def test_a_study_is_in_the_queue_once_and_can_be_submitted_again_when_it_is_over(table):
    first = table.add(submission("a"))
    with pytest.raises(UsageError, match="The study 'a' is in the queue already, submitted by ann"):
        table.add(submission("a"))
    table.stop("a")
    again = table.add(submission("a"))
    assert again.number > first.number
    assert [entry.number for entry in table.entries(all_of_them=True)] == [first.number, again.number]


def test_exactly_one_of_many_concurrent_submissions_of_a_study_succeeds(url):
    outcomes = []

    def submit():
        with opened_queue(url) as table:
            try:
                table.add(submission("a"))
                outcomes.append("added")
            except UsageError:
                outcomes.append("refused")

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["added", "refused", "refused", "refused"]


def test_an_unknown_study_is_reported(table):
    for ask in (table.latest_of, table.stop):
        with pytest.raises(UsageError, match="The study 'nobody' is not in the queue"):
            ask("nobody")
    with pytest.raises(UsageError, match="The queue has no entry 7"):
        table.entry(7)


def test_studies_start_at_once_and_share_the_devices(table, keeper, cluster):
    table.add(submission("a"))
    keeper.turn()
    assert granted(table) == {"a": 8}
    table.add(submission("b"))
    keeper.turn()
    assert granted(table) == {"a": 4, "b": 4}
    assert sorted(cluster.alive.values()) == ["a", "b"]
    keeper.turn()
    assert len(cluster.alive) == 2, "nothing starts twice"


def test_a_higher_priority_takes_devices_and_leaves_what_it_cannot_use(table, keeper, cluster):
    table.add(submission("a"))
    keeper.turn()
    table.add(submission("urgent", priority=5, most=6))
    keeper.turn()
    assert granted(table) == {"a": 2, "urgent": 6}
    table.change(run_of(table, "urgent"), wanted=1)
    keeper.turn()
    assert granted(table) == {"a": 7, "urgent": 1}


def test_a_study_without_devices_waits_and_starts_when_another_ends(table, keeper, cluster):
    cluster.devices = 1
    for study in ("a", "b"):
        table.add(submission(study))
    keeper.turn()
    assert list(cluster.alive.values()) == ["a"]
    assert run_of(table, "b").state == State.QUEUED
    table.change(run_of(table, "a"), state=State.DONE.value)
    keeper.turn()
    assert granted(table) == {"b": 1}


def test_a_cluster_that_grows_and_shrinks_is_divided_again(table, keeper, cluster):
    for study in ("a", "b"):
        table.add(submission(study))
    keeper.turn()
    cluster.devices = 3
    keeper.turn()
    assert granted(table) == {"a": 2, "b": 1}
    cluster.devices = 0
    keeper.turn()
    assert granted(table) == {"a": 0, "b": 0}
    assert all(entry.state == State.RUNNING for entry in table.entries()), "drivers wait for devices"


def test_a_lost_driver_is_started_again_under_another_name(table, keeper, cluster):
    table.add(submission("a"))
    keeper.turn()
    first = run_of(table, "a").job
    cluster.lose("a")
    keeper.turn()
    entry = run_of(table, "a")
    assert (entry.state, entry.starts, entry.granted) == (State.RUNNING, 2, 8)
    assert entry.job != first
    assert list(cluster.alive) == [entry.job]


def test_drivers_that_are_lost_repeatedly_wait_longer_and_are_given_up(table, keeper, cluster, clock):
    table.add(submission("a"))
    waits = []
    for _ in range(MOST_FAILURES):
        while run_of(table, "a").state == State.QUEUED:
            keeper.turn()
            clock.sleep(1.0)
        began_s = clock.monotonic()
        cluster.lose("a")
        keeper.turn()
        waits.append(run_of(table, "a").not_before - began_s)
    assert run_of(table, "a").state == State.FAILED
    assert run_of(table, "a").message == "its driver was lost"
    assert waits[1:-1] == sorted(waits[1:-1])
    assert not cluster.alive


def test_a_driver_that_was_lost_after_a_long_time_starts_the_count_again(table, keeper, cluster, clock):
    table.add(submission("a"))
    for _ in range(2 * MOST_FAILURES):
        keeper.turn()
        clock.sleep(LONG_S + 1)
        cluster.lose("a")
        keeper.turn()
    assert run_of(table, "a").state in (State.RUNNING, State.QUEUED)
    assert run_of(table, "a").failures == 1


def test_a_cluster_that_does_not_answer_loses_nothing(table, keeper, cluster):
    table.add(submission("a"))
    keeper.turn()
    cluster.is_silent = True
    keeper.turn()
    assert run_of(table, "a").starts == 1


def test_a_keeper_that_dies_between_record_and_start_is_replaced_without_a_double_start(table, cluster, clock):
    class Dying(Cluster):
        def start(self, entry, job):
            raise KeyboardInterrupt

    table.add(submission("a"))
    with pytest.raises(KeyboardInterrupt):
        Keeper(table, Dying(), lambda: 8, clock.monotonic).turn()
    assert run_of(table, "a").state == State.RUNNING
    Keeper(table, cluster, lambda: 8, clock.monotonic).turn()
    assert list(cluster.alive.values()) == ["a"]


def test_a_keeper_does_not_overwrite_what_a_driver_recorded_after_it_read(table, keeper, cluster):
    table.add(submission("a"))
    keeper.turn()
    before = run_of(table, "a")
    assert table.change(before, state=State.DONE.value)
    change_after_failure(table, before, code=None, message="its driver was lost", now=0.0)
    assert run_of(table, "a").state == State.DONE


def test_a_waiting_study_stops_at_once_and_a_running_one_is_asked_to(table, keeper, cluster):
    cluster.devices = 1
    for study in ("a", "b"):
        table.add(submission(study))
    keeper.turn()
    assert table.stop("b").state == State.STOPPED
    stopping = table.stop("a")
    assert (stopping.state, stopping.is_stopping) == (State.RUNNING, True)
    assert stopping.described()["state"] == "stopping"
    with pytest.raises(UsageError, match="The study 'b' has ended already: stopped"):
        table.stop("b")
    cluster.lose("a")
    keeper.turn()
    assert run_of(table, "a").state == State.STOPPED, "a lost driver that should stop is not started again"


def test_the_queue_is_in_the_database_of_the_studies_or_in_their_folder(tmp_path):
    assert queue_url({"TUNE_STORAGE": "postgresql://host/name"}) == "postgresql://host/name"
    assert queue_url({"TUNE_HOME": str(tmp_path)}) == sqlite_url(tmp_path / ".queue" / "queue.db")
    assert queue_folder({}).is_absolute()


def test_only_the_owner_of_the_files_can_read_the_queue_of_a_folder(tmp_path):
    with opened_queue(queue_url({"TUNE_HOME": str(tmp_path)})) as table:
        table.add(submission("a"))
    assert (tmp_path / ".queue").stat().st_mode & 0o077 == 0
