"""What tests of several rooms share."""

import os
import signal
import sys
import time
from pathlib import Path

import hypothesis
import pytest
import ray
from ray.cluster_utils import Cluster

from tests.support.postgres import PostgresMissing, PostgresServer
from trainer.ultralytics_bridge import environment
from tuner.contract import EndRecord

# Before any test imports ultralytics: the settings of whoever runs the tests are not ours to touch. The mark is
# taken back, so that the trainers that tests start isolate themselves as they do in real life.
environment.isolate()
del os.environ["TRAINER_ISOLATED"]

# What `nohup`, or a shell's `&`, ignores is ignored by every process that a test starts, too, and signals are what some
# of these tests send.
for signum, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(signum) == signal.SIG_IGN:
        signal.signal(signum, handler)

# How long an example takes is the machine's business, not the tests'.
hypothesis.settings.register_profile("untimed", parent=hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("untimed")

SCRIPTED_TRAINER = Path(__file__).parent / "support" / "scripted_trainer.py"


@pytest.fixture
def scripted_command() -> list[str]:
    """A trainer that speaks the contract and trains nothing."""
    return [sys.executable, str(SCRIPTED_TRAINER), "--epoch-seconds", "0.02"]


@pytest.fixture(scope="session")
def ray_cluster():
    """The address of a running Ray cluster of one node: joined in a second, where starting one takes five."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")  # to see that every slot comes back
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server, where its programs are installed."""
    try:
        server = PostgresServer()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


def users_environment() -> dict[str, str]:
    """That of a user's own process, where nothing restricts what a checkpoint may hold."""
    ours = {"ULTRALYTICS_SAFE_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD"}
    return {name: value for name, value in os.environ.items() if name not in ours}


def hear_all(trainer, timeout_s=240.0):
    """The records of a request, its end last."""
    records = []
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        records += trainer.receive(timeout_s=0.5)
        if records and isinstance(records[-1], EndRecord):
            return records
    raise AssertionError(f"no end record within {timeout_s} s, only {records}")
