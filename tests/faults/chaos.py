"""`python -m tests.faults.chaos [--minutes M] [--seed S]`: one study after another, with faults at random all the time.

Kills trainers, actors and drivers, stops the database, cuts its connections, freezes trainers; each time the same
command is run again. When a study has ended, the invariants of `tests.support.arena` are checked. Ends with 1 when one
of them does not hold, or when fewer faults were done than asked for.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from tests.support.arena import Arena, assert_nothing_lost
from tests.support.postgres import PostgresServer

EPOCH_S = 0.6
TRIALS = 40
SLOTS = 4
PAUSES_S = (0.5, 2.5)
LEAST_FAULTS = 100
ENDED_BY_A_FAULT = {-signal.SIGKILL, 8, 75, 130, 143, -signal.SIGUSR1, -signal.SIGTERM, -signal.SIGINT}
"""Exit codes: 8 where the database is away as a driver begins; the last three where a signal comes just before or after
the part of it that takes signals."""


class Chaos:
    """One study, and what happens to it."""

    def __init__(self, arena: Arena, server: PostgresServer, rng: random.Random, done: Counter):
        self.arena = arena
        self.server = server
        self.rng = rng
        self.done = done
        self.faults = {
            self.kill_trainer: 8,
            self.kill_actor: 3,
            self.kill_driver: 3,
            self.end_driver: 1,
            self.freeze_trainer: 1,
            self.restart_database: 2,
            self.cut_connections: 2,
        }
        self.driver: subprocess.Popen | None = None
        self.redone_at_most = 0

    def run(self) -> str:
        """The study from its start to its end. Returns what is wrong with it, or "" when nothing is."""
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            self.driver = self.arena.start(epoch_seconds=EPOCH_S, parallel=SLOTS, more=["--hang-after", "5"])
            output = self._disturbed()
            if self.driver.returncode == 0:
                return self._verdict()
            if self.driver.returncode not in ENDED_BY_A_FAULT:
                return f"exit code {self.driver.returncode}: {output[-2000:]}"
        return "it does not come to its end"

    def _disturbed(self) -> str:
        assert self.driver is not None
        while True:
            with suppress(subprocess.TimeoutExpired):
                return self.driver.communicate(timeout=self.rng.uniform(*PAUSES_S))[0]
            if not self.arena.events("epoch"):
                continue  # it is still starting
            (fault,) = self.rng.choices(list(self.faults), list(self.faults.values()))
            if fault():
                self.done[fault.__name__] += 1

    def _verdict(self) -> str:
        try:
            assert_nothing_lost(self.arena, most_redone=self.redone_at_most)
        except AssertionError as violation:
            return str(violation)
        return ""

    def _trainers(self) -> list[int]:
        started = {event["pid"] for event in self.arena.events("start")}
        return [process.pid for process in self.arena.processes() if process.pid in started]

    def kill_trainer(self) -> bool:
        """A training process dies."""
        return self._signal(self._trainers(), signal.SIGKILL, costs=1)

    def freeze_trainer(self) -> bool:
        """A training process stands still."""
        return self._signal(self._trainers(), signal.SIGSTOP, costs=1)

    def kill_actor(self) -> bool:
        """The process that holds a trainer dies."""
        return self._signal(self.arena.actors(), signal.SIGKILL, costs=1)

    def kill_driver(self) -> bool:
        """The driver dies."""
        assert self.driver is not None
        return self._signal([self.driver.pid], signal.SIGKILL, costs=SLOTS)

    def end_driver(self) -> bool:
        """The driver is asked to end."""
        assert self.driver is not None
        signum = self.rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
        return self._signal([self.driver.pid], signum, costs=SLOTS)

    def restart_database(self) -> bool:
        """The database crashes, and comes back after a while."""
        self.server.stop_immediately()
        time.sleep(self.rng.choice([0.2, 1.0, 5.0]))
        self.server.start()
        return True

    def cut_connections(self) -> bool:
        """The database drops everybody."""
        self.server.terminate_backends()
        return True

    def _signal(self, pids: list[int], signum: int, costs: int) -> bool:
        if not pids:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.rng.choice(pids), signum)
            self.redone_at_most += costs
            return True
        return False


def say(line: str) -> None:
    """One line for whoever waits."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, done, violations, studies = random.Random(options.seed), Counter(), [], 0
    deadline = time.monotonic() + 60 * options.minutes
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": SLOTS, "include_dashboard": False})
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        with PostgresServer() as server:
            while time.monotonic() < deadline and not violations:
                studies += 1
                with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
                    storage = server.new_database()
                    arena = Arena(Path(folder), trials=TRIALS, storage=storage, address=cluster.address)
                    wrong = Chaos(arena, server, rng, done).run()
                    if wrong:
                        violations.append(f"study {studies}: {wrong}")
                        shutil.copytree(folder, f"{folder}-violated")
                        violations.append(f"kept in {folder}-violated")
                    arena.kill_everything()
                say(f"study {studies}: {sum(done.values())} faults so far, {len(violations)} violations")
    finally:
        ray.shutdown()
        cluster.shutdown()
    say(f"seed {options.seed}: {studies} studies of {TRIALS} trials, {sum(done.values())} faults: {dict(done)}")
    say("\n".join(violations) or "0 violations")
    enough = sum(done.values()) >= LEAST_FAULTS * min(1.0, options.minutes / 15)
    return 0 if enough and not violations else 1


if __name__ == "__main__":
    sys.exit(main())
