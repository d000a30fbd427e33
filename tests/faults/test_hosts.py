"""Hosts of a cluster that share no folder: each has its own network, processes and files, and can be cut off or lost.

The files of runs go through an S3 server, and the record into PostgreSQL; both are outside of the hosts.
"""

import pytest

from tests.support.arena import assert_nothing_lost, assert_orderly_end
from tests.support.hosts import HostsMissing, hosts_on_a_bridge, require_hosts
from tests.support.hosts_arena import HostsArena
from tests.support.postgres import PostgresMissing, PostgresServer
from tests.support.s3 import s3_server

pytestmark = pytest.mark.slow


@pytest.fixture
def make_arena(tmp_path):
    """Makes a cluster of a head that trains nothing and hosts with one CPU each, and a study there."""
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

            def make(*names, **options):
                head = hosts.add("head")
                head.start_ray(cpus=0)
                for name in names:
                    hosts.add(name).start_ray(head=head, cpus=1)
                return HostsArena(hosts, watched, storage=database.new_database(), store=store, **options)

            yield make


def wait_for_epochs(arena, number):
    arena.wait_for(lambda: len(arena.events("epoch")) >= number)


def ended(arena, process, *, timeout_s=120):
    output, _ = process.communicate(timeout=timeout_s)
    assert_orderly_end(process.returncode, output, 0)
    return output


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
