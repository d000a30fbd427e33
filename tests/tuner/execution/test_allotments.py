"""Add and remove devices during a run on real Ray: grants of a queue, and machines of a growing cluster."""

import time

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.support.arena import SPACE, Arena, assert_nothing_lost, assert_orderly_end
from tuner.execution.allotment import ClusterAllotment, FixedAllotment, GrantedAllotment, allotment
from tuner.study import StoredStudy
from tuner.system.grant_folder import VARIABLE, read_granted, read_wanted, write_granted, write_wanted

EPOCH_S = 0.3


@pytest.fixture
def granted(arena, tmp_path):
    """Return an arena whose study gets its devices by the folder `grant`."""
    folder = tmp_path / "grant"
    folder.mkdir()
    arena.environment[VARIABLE] = str(folder)
    arena.grant = folder
    return arena


def training(resource="CPU"):
    """Return the number of devices in use on Ray."""
    return ray.cluster_resources().get(resource, 0.0) - ray.available_resources().get(resource, 0.0)


def ended(arena, process):
    output, _ = process.communicate(timeout=120)
    assert_orderly_end(process.returncode, output, 0)
    return output


def test_a_search_shrinks_and_grows_with_its_grant_and_loses_no_epoch(granted):
    write_granted(granted.grant, 3)
    process = granted.start(parallel=None, epoch_seconds=EPOCH_S)
    granted.wait_for(lambda: training() == 3)
    assert read_wanted(granted.grant) is None, "there is work for more devices"

    write_granted(granted.grant, 1)
    granted.wait_for(lambda: training() == 1)  # the trainers that tune keeps warm are released, too
    time.sleep(4 * EPOCH_S)
    assert training() <= 1

    write_granted(granted.grant, 4)
    granted.wait_for(lambda: training() == 4)
    ended(granted, process)
    assert_nothing_lost(granted, most_redone=0)


@pytest.mark.slow
def test_a_search_without_devices_waits_and_its_hours_do_not_count(granted):
    write_granted(granted.grant, 2)
    started_s = time.monotonic()
    process = granted.start(parallel=None, epoch_seconds=EPOCH_S, more=["--max-hours", str(60 / 3600)])
    granted.wait_for(lambda: training() == 2)
    write_granted(granted.grant, 0)
    granted.wait_for(lambda: training() == 0)
    began_s = time.monotonic()
    while time.monotonic() - began_s < 8:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.2)
    assert training() == 0
    write_granted(granted.grant, 4)
    ended(granted, process)
    assert_nothing_lost(granted, most_redone=0)
    study = StoredStudy.open(granted.storage, "s", granted.study_folder)
    searched_s = study.searched_s
    study.close()
    assert searched_s < time.monotonic() - started_s - 8


@pytest.mark.slow
def test_a_search_reports_how_many_devices_it_can_use(granted):
    granted.trials = 2
    (granted.folder / "space.yaml").write_text(SPACE % 2)
    write_granted(granted.grant, 1)
    process = granted.start(parallel=None, epoch_seconds=2 * EPOCH_S)
    granted.wait_for(lambda: len(granted.events("epoch")) >= 3)
    assert read_wanted(granted.grant) is None
    write_granted(granted.grant, 4)  # the second trial ends later than the first
    granted.wait_for(lambda: read_wanted(granted.grant) == 2)
    granted.wait_for(lambda: read_wanted(granted.grant) == 1)
    ended(granted, process)


def test_a_final_run_gives_up_its_devices_and_resumes_from_its_checkpoint(granted):
    granted.trials = 1
    space = (SPACE % 1).replace("promote_epochs: 4", "promote_epochs: 12")
    (granted.folder / "space.yaml").write_text(space)
    write_granted(granted.grant, 4)
    process = granted.start(parallel=None, promote=True, epoch_seconds=EPOCH_S)
    granted.wait_for(lambda: len([e for e in granted.events("epoch") if e["full"]]) >= 3)
    write_granted(granted.grant, 0)
    granted.wait_for(lambda: training() == 0)
    write_granted(granted.grant, 2)
    output = ended(granted, process)
    assert "the final run gives up devices that are needed elsewhere" in output
    epochs = [event["epoch"] for event in granted.events("epoch") if event["full"]]
    assert sorted(set(epochs)) == list(range(1, 13))
    assert len(epochs) <= 13, "at most the epoch in progress is trained again"
    assert len([event for event in granted.events("start") if event["full"]]) == 2


@pytest.mark.slow
def test_a_search_uses_machines_that_join_its_cluster_and_survives_those_that_leave(tmp_path):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1, "include_dashboard": False})
    try:
        ray.shutdown()
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        arena = Arena(tmp_path, address=cluster.address, trials=10)
        process = arena.start(parallel=None, epoch_seconds=EPOCH_S, more=["--trials", "10"])
        arena.wait_for(lambda: training("GPU") == 1)
        joined = cluster.add_node(num_cpus=4, num_gpus=3)
        arena.wait_for(lambda: training("GPU") == 4)
        cluster.remove_node(joined, allow_graceful=False)
        arena.wait_for(lambda: training("GPU") == 1)
        ended(arena, process)
        status = arena.status()
        assert [trial["number"] for trial in status["trials"]] == list(range(10))
        assert {trial["state"] for trial in status["trials"]} <= {"COMPLETE", "PRUNED"}
    finally:
        arena.kill_everything()
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.slow
def test_a_final_run_continues_if_a_queue_takes_only_devices_that_it_does_not_use(tmp_path):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 4, "include_dashboard": False})
    arena = Arena(tmp_path, address=cluster.address, trials=1)  # a batch of 16 suits two GPUs
    folder = tmp_path / "grant"
    folder.mkdir()
    arena.environment[VARIABLE] = str(folder)
    (tmp_path / "space.yaml").write_text((SPACE % 1).replace("promote_epochs: 4", "promote_epochs: 12"))
    try:
        write_granted(folder, 4)
        process = arena.start(parallel=None, promote=True, epoch_seconds=EPOCH_S)
        arena.wait_for(lambda: [event for event in arena.events("epoch") if event["full"]])
        assert read_wanted(folder) == 2
        write_granted(folder, 2)
        output = ended(arena, process)
        assert "gives up devices" not in output
        assert [event["gpu"] for event in arena.events("start") if event["full"]] == ["0,1"]
    finally:
        arena.kill_everything()
        cluster.shutdown()


@pytest.mark.slow
def test_few_trials_on_a_cluster_of_small_machines_ask_for_no_more_cpus_than_one_has(tmp_path):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=2)
        arena = Arena(tmp_path, address=cluster.address, trials=1)
        code, output = arena.run(parallel=1, promote=True)
        assert code == 0, output
        assert "slots  1 slot(s), 2 CPU thread(s) each" in output
    finally:
        arena.kill_everything()
        cluster.shutdown()


class TestNumbers:
    def test_only_the_whole_of_a_cluster_grows(self):
        assert isinstance(allotment({}, devices=2, follows_cluster=False), FixedAllotment)
        assert isinstance(allotment({}, devices=2, follows_cluster=True), ClusterAllotment)
        assert isinstance(allotment({VARIABLE: "/grant"}, devices=2, follows_cluster=True), GrantedAllotment)
        assert FixedAllotment(2).devices() == 2

    def test_a_grant_holds_until_another_is_written_and_nonsense_changes_nothing(self, tmp_path):
        times_s = iter(range(0, 100, 2))
        own = GrantedAllotment(tmp_path, clock=lambda: next(times_s))
        assert own.devices() == 0, "nothing was granted yet"
        write_granted(tmp_path, 3)
        assert own.devices() == 3
        for damage in ("", "three", "-1"):
            (tmp_path / "granted").write_text(damage)
            assert own.devices() in (0, 3)
        (tmp_path / "granted").unlink()
        assert own.devices() in (0, 3)

    def test_the_requested_devices_are_written_when_they_change(self, tmp_path):
        own = GrantedAllotment(tmp_path)
        assert read_wanted(tmp_path) is None
        own.want(2)
        assert read_wanted(tmp_path) == 2
        (tmp_path / "wanted").unlink()
        own.want(2)
        assert read_wanted(tmp_path) is None, "it is not written again"
        own.want(None)
        assert (tmp_path / "wanted").read_text() == "all"

    def test_a_removed_folder_is_no_error(self, tmp_path):
        write_granted(tmp_path / "gone", 1)
        write_wanted(tmp_path / "gone", 1)
        assert read_granted(tmp_path / "gone", 7) == 7

    def test_a_cluster_is_counted_again_and_keeps_its_count_while_it_does_not_answer(self):
        times_s = iter((0.0, 0.5, 5.0, 5.0, 10.0, 10.0))
        counts = iter([8])  # then StopIteration, as an error of Ray
        own = ClusterAllotment(4, lambda: next(counts), clock=lambda: next(times_s))
        assert own.devices() == 4, "it was counted a moment ago"
        assert own.devices() == 8
        assert own.devices() == 8
