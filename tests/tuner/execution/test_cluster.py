"""Join clusters whose head trains nothing, and whose machines join later."""

import subprocess
import sys
import time

import pytest
from ray.cluster_utils import Cluster

from tests.support.arena import Arena, assert_nothing_lost, assert_orderly_end

WITHOUT_MACHINES = """
import sys
from tuner.exceptions import MachineError
from tuner.execution import cluster
cluster._JOIN_S = 1.0
try:
    with cluster.connected(gpus=None, parallel=2, address=sys.argv[1]):
        print("connected")
except MachineError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def cluster():
    """Return a cluster whose only machine has no CPU for trials, like the head that KubeRay starts."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def searched(arena: Arena, process: subprocess.Popen[str]) -> None:
    """Check that a search succeeds."""
    output, _ = process.communicate(timeout=120)
    assert_orderly_end(process.returncode, output, 0)
    assert_nothing_lost(arena)


def test_a_cluster_without_anything_to_train_on_is_reported_with_the_remedy(cluster):
    program = [sys.executable, "-c", WITHOUT_MACHINES, cluster.address]
    output = subprocess.run(program, check=True, capture_output=True, text=True, timeout=120).stdout
    assert output == (
        f"The Ray cluster at '{cluster.address}' must have a machine with CPUs, or with GPUs that --gpus allows, but "
        "none has joined within 1 s; start machines with `ray start --address=HEAD:6379`, then run the same command "
        "again.\n"
    )


@pytest.mark.slow
def test_a_search_waits_for_machines_that_join_after_its_start(cluster, tmp_path):
    arena = Arena(tmp_path, address=cluster.address, trials=2)
    process = arena.start()
    log = arena.study_folder / "driver.log"
    arena.wait_for(lambda: log.exists() and "preparing: starting Ray" in log.read_text())
    time.sleep(4.0)  # to join the cluster takes less
    assert process.poll() is None
    machine = cluster.add_node(num_cpus=2)
    searched(arena, process)
    cluster.remove_node(machine)


@pytest.mark.slow
def test_a_search_uses_gpus_of_machines_that_offer_no_cpu(cluster, tmp_path):
    machine = cluster.add_node(num_cpus=0, num_gpus=2)
    arena = Arena(tmp_path, address=cluster.address, trials=4)
    searched(arena, arena.start(parallel=None, epoch_seconds=0.5))
    assert {event["gpu"] for event in arena.events("start")} == {"0", "1"}
    cluster.remove_node(machine)
