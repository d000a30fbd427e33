"""Rows 4 and 6: a machine of the cluster is lost, or Ray itself."""

import os
import signal

import psutil
import pytest
from ray.cluster_utils import Cluster

from tests.support.arena import Arena, assert_nothing_lost, assert_nothing_runs, assert_orderly_end


@pytest.fixture
def two_machines():
    """Yield a cluster of a head that trains nothing and a machine that trains; their slots distinguish them."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_the_trials_of_a_lost_machine_resume_elsewhere(tmp_path, two_machines):
    arena = Arena(tmp_path, address=two_machines.address)
    process = arena.start(epoch_seconds=0.3)
    arena.wait_for(lambda: len(arena.events("epoch")) >= 6)
    (lost,) = two_machines.worker_nodes
    two_machines.add_node(num_cpus=2)
    two_machines.remove_node(lost, allow_graceful=False)
    output, _ = process.communicate(timeout=150)
    assert_orderly_end(process.returncode, output, 0)
    status = assert_nothing_lost(arena, most_redone=2)
    attempts = [attempt for trial in status["trials"] for attempt in trial.get("failed_attempts", ())]
    assert {attempt["failure"] for attempt in attempts} == {"infrastructure"}
    arena.kill_everything()


@pytest.mark.parametrize("server", ["gcs_server", pytest.param("raylet", marks=pytest.mark.slow)])
def test_when_ray_dies_the_run_ends_in_order_and_the_same_command_resumes(lone_arena, server):
    process = lone_arena.start(epoch_seconds=0.3)
    lone_arena.wait_for(lambda: len(lone_arena.events("epoch")) >= 4)
    (victim,) = [child for child in psutil.Process(process.pid).children() if child.name() == server]
    os.kill(victim.pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 5)
    assert output.strip().splitlines()[-1].endswith("; nothing is lost; run the same command again to resume")
    before = lone_arena.status()
    assert before["counts"]["RUNNING"] == 0
    assert_nothing_runs(lone_arena)
    code, output = lone_arena.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(lone_arena, before=before, most_redone=2)


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_ends_the_run_in_order(tmp_path):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    (server,) = cluster.head_node.all_processes["gcs_server"]
    arena = Arena(tmp_path, address=cluster.address)
    try:
        process = arena.start(epoch_seconds=0.3)
        arena.wait_for(lambda: len(arena.events("epoch")) >= 4)
        os.kill(server.process.pid, signal.SIGSTOP)
        output, _ = process.communicate(timeout=90)
        assert_orderly_end(process.returncode, output, 5)
        assert "the Ray cluster does not answer" in output
        assert arena.status()["counts"]["RUNNING"] == 0
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
        cluster.shutdown()
        arena.kill_everything()
