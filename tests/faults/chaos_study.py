"""One study, with random faults of its processes and its database; used by `tests.faults.chaos`."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from tests.support.arena import Arena, assert_nothing_lost
from tests.support.postgres import PostgresServer

EPOCH_S = 0.6
SLOTS = 4
PAUSES_S = (0.5, 2.5)
ENDED_BY_A_FAULT = {-signal.SIGKILL, 8, 75, 130, 143, -signal.SIGUSR1, -signal.SIGTERM, -signal.SIGINT}
"""Exit codes: 8 if the database is away when a driver starts; the last three if a signal comes just before or after
the part of it that takes signals."""


class Chaos:
    """One study, and what happens to it."""

    slots = SLOTS

    def __init__(self, arena: Arena, server: PostgresServer, rng: random.Random, done: Counter[str]) -> None:
        self.arena = arena
        self.server = server
        self.rng = rng
        self.done = done
        self.faults: dict[Callable[[], bool], int] = {
            self.kill_trainer: 8,
            self.kill_actor: 3,
            self.kill_driver: 3,
            self.end_driver: 1,
            self.freeze_trainer: 1,
            self.restart_database: 2,
            self.cut_connections: 2,
        }
        self.driver: subprocess.Popen[str] | None = None
        self.redone_at_most = 0

    def run(self) -> str:
        """Run the study from its start to its end, and return what is wrong with it, or "" if nothing is."""
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            self.driver = self.arena.start(epoch_seconds=EPOCH_S, parallel=self.slots, more=["--hang-after", "5"])
            output = self._disturbed()
            if self.driver.returncode == 0:
                return self._verdict()
            if not self.is_expected(self.driver.returncode, output):
                return f"exit code {self.driver.returncode}: {output[-2000:]}"
        return "it does not come to its end"

    def is_expected(self, code: int, output: str) -> bool:
        """Check whether a driver may end like this because of a fault; the same command is then run again."""
        return code in ENDED_BY_A_FAULT

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
        """Kill a training process."""
        return self._signal(self._trainers(), signal.SIGKILL, costs=1)

    def freeze_trainer(self) -> bool:
        """Freeze a training process."""
        return self._signal(self._trainers(), signal.SIGSTOP, costs=1)

    def kill_actor(self) -> bool:
        """Kill the process that holds a trainer."""
        return self._signal(self.arena.actors(), signal.SIGKILL, costs=1)

    def kill_driver(self) -> bool:
        """Kill the driver."""
        assert self.driver is not None
        return self._signal([self.driver.pid], signal.SIGKILL, costs=self.slots)

    def end_driver(self) -> bool:
        """Ask the driver to end."""
        assert self.driver is not None
        signum = self.rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
        return self._signal([self.driver.pid], signum, costs=self.slots)

    def restart_database(self) -> bool:
        """Crash the database, and start it again after a while."""
        self.server.stop_immediately()
        time.sleep(self.rng.choice([0.2, 1.0, 5.0]))
        self.server.start()
        return True

    def cut_connections(self) -> bool:
        """Drop all connections to the database."""
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
