"""`python -m tests.faults.chaos [--minutes M] [--seed S] [--hosts-only]`: run studies with random faults.

Kills trainers, actors and drivers, stops the database, cuts its connections, freezes trainers; each time the same
command is run again. If this machine can make hosts (`tests.support.hosts`), one study in the middle of the time runs
on hosts that share no folder: they are cut off, lost or added, the head is lost, the store goes away. When a study has
ended, the invariants of `tests.support.arena` are checked. Ends with 1 when one of them does not hold, or when fewer
faults were done than asked for.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from tests.faults.chaos_on_hosts import study_on_hosts
from tests.faults.chaos_study import SLOTS, Chaos
from tests.support.arena import Arena
from tests.support.hosts import HostsMissing, require_hosts
from tests.support.postgres import PostgresServer

TRIALS = 40
LEAST_FAULTS = 100


def say(line: str) -> None:
    """Print one line for whoever waits."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Studies:
    """Studies with faults, one after another."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.number = 0
        self.violations: list[str] = []

    def on_cluster(self, server: PostgresServer, address: str) -> None:
        """Run a study on a cluster of one machine."""

        def run(folder: Path) -> str:
            arena = Arena(folder, trials=TRIALS, storage=server.new_database(), address=address)
            try:
                return Chaos(arena, server, self._rng, self.done).run()
            finally:
                arena.kill_everything()

        self._checked(run)

    def on_hosts(self) -> None:
        """Run a study on hosts that share no folder."""

        def run(folder: Path) -> str:
            with study_on_hosts(folder, self._rng, self.done) as chaos:
                return chaos.run()

        self._checked(run)

    def _checked(self, run: Callable[[Path], str]) -> None:
        self.number += 1
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            wrong = run(Path(folder))
            if wrong:
                shutil.copytree(folder, f"{folder}-violated")
                self.violations += [f"study {self.number}: {wrong}", f"kept in {folder}-violated"]
        say(f"study {self.number}: {sum(self.done.values())} faults so far, {len(self.violations)} violations")


def can_make_hosts() -> bool:
    """Return whether this machine can make hosts, and print why not."""
    try:
        require_hosts()
    except HostsMissing as missing:
        say(f"no study on hosts: {missing}")
        return False
    return True


def run_mixed(studies: Studies, until: float, half_s: float) -> None:
    """Run studies on a cluster until a time on the monotonic clock, and one on hosts when half of the time is left."""
    hosts_are_left = can_make_hosts()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": SLOTS, "include_dashboard": False})
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        with PostgresServer() as server:
            while (left_s := until - time.monotonic()) > 0 and not studies.violations:
                if hosts_are_left and left_s < half_s:
                    hosts_are_left = False
                    studies.on_hosts()
                else:
                    studies.on_cluster(server, cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hosts-only", action="store_true", help="only studies on hosts that share no folder")
    options = parser.parse_args()
    studies, until = Studies(options.seed), time.monotonic() + 60 * options.minutes
    if options.hosts_only:
        while time.monotonic() < until and not studies.violations:
            studies.on_hosts()
    else:
        run_mixed(studies, until, half_s=30 * options.minutes)
    number = sum(studies.done.values())
    say(f"seed {options.seed}: {studies.number} studies, {number} faults: {dict(studies.done)}")
    say("\n".join(studies.violations) or "0 violations")
    enough = options.hosts_only or number >= LEAST_FAULTS * min(1.0, options.minutes / 15)
    return 0 if enough and not studies.violations else 1


if __name__ == "__main__":
    sys.exit(main())
