"""Random faults of hosts: cut off, lost, added, the head lost, the store away; used by `tests.faults.chaos`."""

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.faults.chaos_study import Chaos
from tests.support.hosts import Host, hosts_on_a_bridge
from tests.support.hosts_arena import HostsArena
from tests.support.postgres import PostgresServer
from tests.support.s3 import s3_server
from tuner.exceptions import MachineError

TRIALS = 20
HOSTS = 3
SLOTS = 2
EPOCHS = 9
"""Epochs of a trial. A host that is cut off may train all of them alone."""

CUTS_S = (3.0, 15.0, 15.0, 80.0)
"""Lengths of cuts, in seconds; only the last one is noticed by Ray."""


class HostsChaos(Chaos):
    """One study on hosts that share no folder."""

    slots = SLOTS

    def __init__(self, arena: HostsArena, server: PostgresServer, rng: random.Random, done: Counter[str]) -> None:
        super().__init__(arena, server, rng, done)
        self.on_hosts = arena
        self.joined = 0
        self.head_is_lost = False
        self.faults = {
            self.cut_off_host: 3,
            self.lose_host: 1,
            self.add_host: 1,
            self.lose_head: 1,
            self.stop_store: 2,
            self.kill_trainer: 3,
            self.kill_driver: 1,
            self.restart_database: 1,
        }

    def is_expected(self, code: int, output: str) -> bool:
        if self.head_is_lost:  # the driver was on it, and Ray may abort it before it is killed
            self.head_is_lost = False
            return True
        store_is_away = code == MachineError.exit_code and "The artifact store must be readable" in output
        return store_is_away or super().is_expected(code, output)

    def _trainers(self) -> list[int]:
        found = self.arena.processes()
        return [process.pid for process in found if "scripted_trainer.py" in str(process.cmdline()[1:2])]

    def kill_driver(self) -> bool:
        """Kill the driver."""
        assert self.driver is not None
        with contextlib.suppress(psutil.NoSuchProcess):  # the local process only waits for the one on the host
            return self._signal([child.pid for child in psutil.Process(self.driver.pid).children()], signal.SIGKILL, 2)
        return False

    def cut_off_host(self) -> bool:
        """Cut off a host, which continues to train, and reconnect it."""
        host = self._any_host()
        host.cut_off()
        time.sleep(self.rng.choice(CUTS_S))
        host.plug_in()
        self.redone_at_most += EPOCHS
        time.sleep(5.0)
        if not _runs_ray(host):  # it ends once it notices that it counts as dead
            host.crash()
            host.start_ray(head=self.on_hosts.head, cpus=1)
        return True

    def lose_host(self) -> bool:
        """Lose a host for good; never the last one."""
        if len(self._workers()) < 2:
            return False
        host = self._any_host()
        host.kill()
        del self.on_hosts.hosts.hosts[host.name]
        self.redone_at_most += 2
        return True

    def add_host(self) -> bool:
        """Add a host to the cluster."""
        if len(self._workers()) > HOSTS:
            return False
        self.joined += 1
        self.on_hosts.hosts.add(f"joined{self.joined}").start_ray(head=self.on_hosts.head, cpus=1)
        return True

    def lose_head(self) -> bool:
        """Lose the head, with Ray and the driver, and start a new cluster on the same hosts."""
        self.head_is_lost = True
        for host in self.on_hosts.hosts.hosts.values():
            host.crash()
        self.on_hosts.head.start_ray(cpus=0)
        for host in self._workers():
            host.start_ray(head=self.on_hosts.head, cpus=1)
        self.redone_at_most += 2 * self.slots
        return True

    def stop_store(self) -> bool:
        """Stop the store for a while."""
        self.on_hosts.store.stop()
        time.sleep(self.rng.choice([1.0, 5.0, 20.0]))
        self.on_hosts.store.start()
        return True

    def _any_host(self) -> Host:
        return self.rng.choice(self._workers())

    def _workers(self) -> list[Host]:
        return [host for name, host in self.on_hosts.hosts.hosts.items() if name != "head"]


@contextlib.contextmanager
def study_on_hosts(folder: Path, rng: random.Random, done: Counter[str]) -> Iterator[HostsChaos]:
    """Make a cluster of hosts with a study for the duration of the block."""
    with contextlib.ExitStack() as opened:
        hosts = opened.enter_context(hosts_on_a_bridge(shared=[folder]))
        server = opened.enter_context(PostgresServer(hosts.address))
        store = opened.enter_context(s3_server(hosts.address))
        hosts.variables |= store.environment
        head = hosts.add("head")
        head.start_ray(cpus=0)
        for number in range(HOSTS):
            hosts.add(f"host{number}").start_ray(head=head, cpus=1)
        arena = HostsArena(hosts, folder, storage=server.new_database(), store=store, trials=TRIALS)
        opened.callback(arena.kill_everything)
        yield HostsChaos(arena, server, rng, done)


def _runs_ray(host: Host) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return any(process.name() == "raylet" for process in psutil.Process(host.pid).children(recursive=True))
    return False
