"""Write changes to the database in a thread, so that neither training nor decisions wait for it."""

import threading
import time
from collections import deque
from collections.abc import Callable

from tuner.exceptions import MachineError, RecordRemovedError, StorageError, StudyChangedError
from tuner.storage.lease import Lease
from tuner.study._changes import Change
from tuner.study._journal import Journal

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


class Writer:
    """Writer of changes: into the journal at once, and into the database when it accepts them, in the same order."""

    def __init__(
        self,
        journal: Journal,
        lease: Lease,
        carry_out: Callable[[Change], None],
        on_event: Callable[[str], None],
        taken: Callable[[], str | None] = lambda: None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread.

        Args:
            journal: Journal for changes that are not in the database yet.
            lease: Lease of the study.
            carry_out: Applies one change to the database.
            on_event: Receives a one-line message when the database becomes unreachable or answers again.
            taken: Returns which file of the record was removed, moved or replaced; None if all are in place.
            now_s: Monotonic clock, for the duration of an outage.
        """
        self._taken = taken
        self._journal = journal
        self._lease = lease
        self._carry_out = carry_out
        self._on_event = on_event
        self._now_s = now_s
        self._queue: deque[Change] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._given_up = False
        self._failure: Exception | None = None
        self._away_since: float | None = None
        self._thread = threading.Thread(target=self._work, name="study-writer", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Number of changes that are not in the database yet."""
        return len(self._queue)

    def check(self) -> None:
        """Raise the error that made writing impossible for good, if there is one.

        The lease was lost, another program changed the study, its files were removed, moved or replaced, or the
        journal cannot be written.
        """
        self._look()
        if self._failure is not None:
            raise self._failure

    def put(self, change: Change) -> None:
        """Accept one change; return when it is safe on the local disk.

        Raises:
            MachineError: The journal cannot be written. Later changes are refused too, since they may depend on
                this one.
        """
        self.check()
        with self._changed:
            try:
                self._journal.append(change)
            except MachineError as problem:
                self._failure = problem
                raise
            self._queue.append(change)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all changes are in the database; return whether they are."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queue or self._failure is not None, timeout_s)
            return not self._queue

    def close(self, timeout_s: float) -> None:
        """Write as many changes as possible within the timeout, then stop; the journal keeps the rest."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            self._given_up = True
        if not self._thread.is_alive():
            self._journal.close()

    def _work(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
                change = self._queue[0]
            try:
                self._lease.ensure()
                self._carry_out(change)
            except StorageError as error:
                if isinstance(error, StudyChangedError):
                    self._fail(error)
                    return
                if self._look():
                    return
                self._away(error)
                with self._changed:
                    if self._closed:
                        return
                    self._changed.wait_for(lambda: self._closed, pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            except Exception as error:  # a bug or a lost lease: the next `put` raises it
                self._fail(error)
                return
            pause_s = _FIRST_PAUSE_S
            if not self._done():
                return

    def _done(self) -> bool:
        """Remove one written change from the queue; return False if the thread must stop.

        It must stop when another driver may have the study and its journal by now, or when the files of the record
        were removed, moved or replaced.
        """
        with self._changed:
            if self._given_up or (len(self._queue) == 1 and self._look()):
                return False
            self._queue.popleft()
            if not self._queue:
                self._journal.clear()
                if self._away_since is not None:
                    away_s, self._away_since = self._now_s() - self._away_since, None
                    self._on_event(
                        f"the database is available again after {away_s:.0f} s; all pending changes are written"
                    )
            self._changed.notify_all()
            return True

    def _away(self, error: StorageError) -> None:
        if self._away_since is None:
            self._away_since = self._now_s()
            said = str(error).removesuffix(".")
            self._on_event(f"{said}. Training continues, and its results are saved in the journal.")

    def _look(self) -> bool:
        """Check whether the files of the record were removed, moved or replaced; later writes may then be lost."""
        with self._changed:
            what = None if self._closed and self._given_up else self._taken()
            if what is not None and self._failure is None:
                self._fail(
                    RecordRemovedError(
                        f"A study's record must stay in place during the run, but {what}; run the same command to "
                        "resume, with --home if the folder was moved."
                    )
                )
            return what is not None

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()
