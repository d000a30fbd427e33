"""Fixtures that tests of several rooms share."""

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import hypothesis
import pytest
import ray
from ray.cluster_utils import Cluster

from tests.support.postgres import PostgresMissing, PostgresServer
from trainer.ultralytics_bridge import environment
from tuner.contract import EndRecord, EpochRecord, Record

# Before any test imports ultralytics: tests must not touch the settings of whoever runs them. The mark is
# taken back, so that the trainers that tests start isolate themselves as they do in real life.
environment.isolate()
del os.environ["TRAINER_ISOLATED"]

# Every process that a test starts also ignores what `nohup` or a shell's `&` ignores, and signals are what some
# of these tests send.
for signum, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(signum) == signal.SIG_IGN:
        signal.signal(signum, handler)

# The time of an example depends on the machine, so it has no limit.
hypothesis.settings.register_profile("untimed", parent=hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("untimed")

SCRIPTED_TRAINER = Path(__file__).parent / "support" / "scripted_trainer.py"


@pytest.fixture
def scripted_command() -> list[str]:
    """Return a trainer that speaks the contract and trains nothing."""
    return [sys.executable, str(SCRIPTED_TRAINER), "--epoch-seconds", "0.02"]


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """Yield the address of a running Ray cluster of one node: joining takes a second, starting takes five."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")  # to see that every slot comes back
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Yield a PostgreSQL server if its programs are installed."""
    try:
        server = PostgresServer()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


def users_environment() -> dict[str, str]:
    """Return the environment of a user's own process, which does not restrict what a checkpoint may hold."""
    ours = {"ULTRALYTICS_SAFE_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD"}
    return {name: value for name, value in os.environ.items() if name not in ours}


def epochs_of(records: Iterable[Record]) -> list[EpochRecord]:
    """Return the records of epochs, without those of progress within epochs."""
    return [record for record in records if isinstance(record, EpochRecord)]


class Receiver(Protocol):
    """Trainer with an open request."""

    def receive(self, timeout_s: float) -> list[Record]: ...


def hear_all(trainer: Receiver, timeout_s: float = 240.0) -> list[Record]:
    """Return the records of a request, its end last."""
    records: list[Record] = []
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        records += trainer.receive(timeout_s=0.5)
        if records and isinstance(records[-1], EndRecord):
            return records
    raise AssertionError(f"no end record within {timeout_s} s, only {records}")
