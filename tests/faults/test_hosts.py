"""Hosts of a cluster that share no folder: each has its own network, processes and files, and may be cut off or lost.

The files of runs go through an S3 server, and the record into PostgreSQL; both are outside of the hosts.
"""

import os
import time
from pathlib import Path

import pytest

from tests.support.arena import assert_nothing_lost, assert_orderly_end
from tests.support.hosts import HostsMissing, hosts_on_a_bridge, require_hosts
from tests.support.hosts_arena import HostsArena, RealHostsArena
from tests.support.postgres import PostgresMissing, PostgresServer
from tests.support.real_arena import EPOCHS, NOTHING_LEARNT
from tests.support.s3 import s3_server


@pytest.fixture
def make_arena(tmp_path):
    """Yield a function that makes a study on a cluster: a head that trains nothing, and hosts with one CPU each."""
    try:
        require_hosts()
    except HostsMissing as missing:
        pytest.skip(str(missing))
    watched = tmp_path / "watched"
    watched.mkdir()
    with hosts_on_a_bridge(shared=[watched]) as hosts:
        try:
            database = PostgresServer(hosts.address)
        except PostgresMissing as missing:
            pytest.skip(str(missing))
        with database, s3_server(hosts.address) as store:
            hosts.variables |= store.environment

            def make(*names, kind=HostsArena, **options):
                head = hosts.add("head")
                head.start_ray(cpus=0)
                for name in names:
                    hosts.add(name).start_ray(head=head, cpus=1)
                return kind(hosts, watched, storage=database.new_database(), store=store, **options)

            yield make


def wait_for_epochs(arena, number):
    arena.wait_for(lambda: len(arena.events("epoch")) >= number)


def note_time(arena, what, began):
    """Append a time to the file that FAULT_VALUES names, for the table in docs/reliability.md."""
    if "FAULT_VALUES" in os.environ:
        with Path(os.environ["FAULT_VALUES"]).open("a") as file:
            file.write(f"{os.environ['PYTEST_CURRENT_TEST']}: {what} after {time.monotonic() - began:.1f} s\n")


def ended(arena, process, *, timeout_s=120):
    output, _ = process.communicate(timeout=timeout_s)
    assert_orderly_end(process.returncode, output, 0)
    return output


@pytest.mark.slow
def test_a_search_needs_no_shared_folder_and_leaves_no_files_on_the_hosts(make_arena):
    arena = make_arena("one", "two")
    ended(arena, arena.start(epoch_seconds=0.2, promote=True))
    status = assert_nothing_lost(arena, most_redone=0)
    assert {event["host"] for event in arena.events("start")} == {"one", "two"}
    assert (arena.study_folder / "params.yaml").exists()
    (final,) = (arena.study_folder / "promoted").iterdir()
    assert (final / "weights" / "played.json").read_text() == "4", "the weights of the final run are with the study"
    assert status["final_run"]["state"] == "COMPLETE"
    assert all(arena.left_on(host) == [] for host in arena.hosts.hosts.values())


@pytest.mark.slow
def test_a_host_that_was_cut_off_replaces_nothing_of_its_trial_when_it_reconnects(make_arena):
    arena = make_arena("one", "two", "three")
    process = arena.start(epoch_seconds=1.0)
    arena.wait_for(lambda: (0, 4) in arena.epochs_played())
    lost = arena.host_of_trial(0)
    lost.cut_off()
    began = time.monotonic()
    arena.wait_for(lambda: arena.host_of_trial(0) is not lost, timeout_s=180)
    note_time(arena, "rescheduled", began)
    arena.wait_for(lambda: max(arena.epochs_played()[0, epoch] for epoch in range(5, 10)) > 1)
    lost.plug_in()
    ended(arena, process)
    status = assert_nothing_lost(arena, most_redone=6)
    assert [attempt["failure"] for attempt in status["trials"][0]["failed_attempts"]] == ["infrastructure"]
    assert arena.attempts_of("trials/0000")[0] == arena.manifest("trials/0000").attempt
    assert arena.manifest("trials/0000").epoch == 9


@pytest.mark.slow
def test_the_trials_of_a_lost_host_resume_on_one_that_joins_during_the_search(make_arena):
    arena = make_arena("one", "two")
    process = arena.start(epoch_seconds=0.5)
    wait_for_epochs(arena, 6)
    arena.hosts.hosts["two"].kill()
    began = time.monotonic()
    arena.hosts.add("three").start_ray(head=arena.head, cpus=1)
    arena.wait_for(lambda: "three" in {event["host"] for event in arena.events("start")}, timeout_s=180)
    note_time(arena, "rescheduled", began)
    ended(arena, process)
    assert_nothing_lost(arena, most_redone=2)


@pytest.mark.slow
def test_after_the_loss_of_the_head_the_same_command_resumes_in_a_new_cluster(make_arena):
    arena = make_arena("one", "two")
    process = arena.start(epoch_seconds=0.5)
    wait_for_epochs(arena, 8)
    for host in arena.hosts.hosts.values():
        host.crash()
    process.communicate(timeout=30)
    before = arena.status()
    arena.head.start_ray(cpus=0)
    for name in ("two", "one"):
        arena.hosts.hosts[name].start_ray(head=arena.head, cpus=1)
    ended(arena, arena.start(epoch_seconds=0.5))
    assert_nothing_lost(arena, before=before, most_redone=4)


@pytest.mark.slow
def test_training_continues_while_the_store_is_away(make_arena):
    arena = make_arena("one", "two")
    process = arena.start(epoch_seconds=0.5)
    wait_for_epochs(arena, 4)
    arena.store.stop()
    during = len(arena.events("epoch"))
    arena.wait_for(lambda: len(arena.events("epoch")) >= during + 4)
    time.sleep(15)
    arena.store.start()
    ended(arena, process)
    status = assert_nothing_lost(arena, most_redone=0)
    assert all("failed_attempts" not in trial for trial in status["trials"])


@pytest.mark.slow
def test_a_real_trial_of_a_lost_host_resumes_from_its_checkpoint_on_another(make_arena):
    arena = make_arena("one", "two", kind=RealHostsArena, trials=2)
    process = arena.start()
    arena.wait_for(lambda: arena.epoch_in_store("trials/0001") >= 3, timeout_s=240)
    lost = next(host for host in arena.hosts.hosts.values() if arena.left_on(host))
    lost.kill()
    output, _ = process.communicate(timeout=240)
    assert_orderly_end(process.returncode, output, NOTHING_LEARNT)
    trials = arena.status()["trials"]
    assert [(trial["state"], set(trial["curve"])) for trial in trials] == [("COMPLETE", {"2", str(EPOCHS)})] * 2
    log = (arena.study_folder / "trials" / "0001" / "trainer.log").read_text()
    assert "resuming from epoch" in log
    assert log.count(f"trainer INFO epoch 1/{EPOCHS}:") == 1, "only the last epochs are trained again"
    records = (arena.study_folder / "trials" / "0001" / "records.jsonl").read_text().splitlines()
    assert len(records) == EPOCHS
