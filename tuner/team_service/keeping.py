"""Make sure that a cluster works on the queue: its keeper runs as long as studies wait."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from tuner.exceptions import TunerError
from tuner.storage.lease import HeartbeatWatch
from tuner.study_queue.table import QueueTable
from tuner.system.printable import printable

KEEPER = "/queue"
"""Name of the keeper's lease."""

_TURN_S = 5.0
_AGAIN_S = 60.0
"""Minimum time between two requests to a cluster, in seconds: each is a job there."""

logger = logging.getLogger("tuner.team_service")


class Cluster(Protocol):
    """Cluster that can be asked for a keeper."""

    def ensure_keeper(self) -> None:
        """Start the keeper if there is none.

        Raises:
            TunerError: The cluster does not answer, or cannot start one.
        """


class Keeping:
    """A thread that asks the cluster for a keeper when studies wait and nobody keeps the queue.

    The keeper shows that it works by its heartbeats in the database, so the cluster is left in peace meanwhile. The
    token of Ray is used here alone.
    """

    def __init__(
        self, table: QueueTable, url: str, connect: Callable[[], Cluster], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare to look after a queue.

        Args:
            table: The queue.
            url: Database of the queue.
            connect: Function that connects to the cluster.
            clock: Monotonic time in seconds.
        """
        self._table = table
        self._watch = HeartbeatWatch(url, KEEPER, clock)
        self._connect = connect
        self._clock = clock
        self._asked_s: float | None = None
        self._is_over = threading.Event()
        self.problem = ""
        """Reason why queued studies do not start, in one line; empty if none is known. It may name machines."""

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._keep, name="keeping", daemon=True).start()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._is_over.set()

    def turn(self) -> None:
        """Look once, and ask the cluster if that is due.

        Raises:
            StorageError: The database cannot be used.
        """
        if not self._table.entries() or (self._watch.look() is not None and not self._watch.problem()):
            self.problem = ""
            return
        if self._asked_s is not None and self._clock() - self._asked_s < _AGAIN_S:
            return
        self._asked_s = self._clock()
        try:
            self._connect().ensure_keeper()
        except TunerError as error:
            self._report(str(error))
        else:
            # The next turns look for its heartbeats; they end this.
            self.problem = "the cluster was asked to work on the queue, but has not begun; does it use this database?"

    def _keep(self) -> None:
        while not self._is_over.is_set():
            try:
                self.turn()
            except TunerError as error:
                self._report(str(error))
            except Exception as error:  # the thread must not end: nobody else asks the cluster
                logger.exception("looking after the queue failed")
                self.problem = f"internal error, please report: {error!r}"
            self._is_over.wait(_TURN_S)

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            logger.warning("%s", printable(problem))
        self.problem = problem
