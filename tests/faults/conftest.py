"""What the fault tests share."""

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.arena import Arena


@pytest.fixture(scope="session")
def ray_cluster():
    """The address of a running Ray cluster of one node: joined in a second, where starting one takes five."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")  # to see that every slot comes back
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def arena(tmp_path, ray_cluster):
    """Eight trials on the running cluster."""
    arena = Arena(tmp_path, address=ray_cluster)
    yield arena
    arena.kill_everything()


@pytest.fixture
def lone_arena(tmp_path):
    """Eight trials, and Ray started by the run itself."""
    arena = Arena(tmp_path)
    yield arena
    arena.kill_everything()
