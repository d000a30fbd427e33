"""Bring the records and logs of runs from their store into the study's folder, and remove there what no run needs."""

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tuner.artifacts.store import Store
from tuner.contract import TrainRequest
from tuner.exceptions import MachineError

_LAST_PUSH_S = 30.0
"""Time in seconds that a run which was asked to end has for its last push; then its files are fetched as they are."""

_LAST_FETCH_S = 20.0
"""Time in seconds that the end of a phase waits for a fetch in progress, if the store does not answer."""

_PATIENCE_S = 60.0
"""Time in seconds that a phase which ends in order waits for a store that does not answer."""

_POLL_S = 1.0

_OUTAGE_S = 10.0
"""Wait in seconds before the store is asked again after an error."""


class StoredRuns:
    """Runs of one study in its store. Files are fetched in a thread, because the store may be slow or unreachable."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        attempt: Callable[[], int],
        on_event: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Attach to a store.

        Args:
            store: Store of the study.
            folder: Folder of the study.
            attempt: Function that numbers attempts (see `Store.claim`).
            on_event: Function that receives each line for the user.
        """
        self._store = store
        self._folder = folder
        self._attempt = attempt
        self._on_event = on_event
        self._problem = ""
        self._ended: queue.Queue[str | None] = queue.Queue()
        self.over: Callable[[], Collection[str]] = frozenset
        """Function that returns the runs that will never resume; their files are removed once they are fetched."""

    def request(self, request: TrainRequest, *, data: str, model: str) -> TrainRequest:
        """Return a request for any machine; `data` and `model` are as the user named them."""
        run = self.run_of(Path(request.directory))
        return replace(
            request,
            data=data,
            model=model,
            shares_files=False,
            artifacts=self._store.run_url(run),
            attempt=self._attempt(),
        )

    def run_of(self, directory: Path) -> str:
        """Return the path of a run below the study's folder, by its absolute path."""
        return str(directory.relative_to(self._folder))

    @property
    def place(self) -> str:
        """URL or absolute path of the store."""
        return self._store.place

    def fetch_result(self, directory: Path) -> None:
        """Fetch all files of a run that is complete.

        Raises:
            MachineError: The store cannot be read.
        """
        self._store.fetch(self.run_of(directory), directory, weights=True)

    def fetch_logs(self, directory: Path) -> None:
        """Fetch the files of a run that has ended early, if possible."""
        try:
            self._store.fetch(self.run_of(directory), directory, weights=False)
        except MachineError as error:
            self._note(str(error))

    def note_end(self, directory: Path) -> None:
        """Fetch the files of a run that ends now, soon; remove them from the store if it will not resume."""
        self._ended.put(self.run_of(directory))

    @contextmanager
    def fetching(self, group: str, is_ending: Callable[[], bool]) -> Iterator[None]:
        """Fetch the files of runs of a group, such as `trials`, for the duration of the block, and at its end.

        Args:
            group: Group of the runs.
            is_ending: Returns True if the end must not wait for a store that does not answer.
        """
        thread = threading.Thread(target=self._fetch_ended, name="artifacts", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.put(None)
            thread.join(_LAST_FETCH_S)
            if not thread.is_alive():
                self.sync(group, patience_s=0.0 if is_ending() else _PATIENCE_S)

    def sync(self, group: str, patience_s: float) -> None:
        """Fetch the files of all runs of a group, and remove what is over. A failure is one line for the user.

        Args:
            group: Group of the runs.
            patience_s: Time to wait for a store that does not answer, in seconds.
        """
        until_s = time.monotonic() + patience_s
        while True:
            try:
                for run in self._store.runs(group):
                    self._settle(run)
                return
            except MachineError as error:
                self._note(str(error))
            if time.monotonic() + _OUTAGE_S > until_s:
                return
            time.sleep(_OUTAGE_S)

    def _fetch_ended(self) -> None:
        deadlines: dict[str, float] = {}
        while True:
            try:
                run = self._ended.get(timeout=_POLL_S if deadlines else None)
                if run is None:
                    return
                deadlines.setdefault(run, time.monotonic() + _LAST_PUSH_S)
            except queue.Empty:
                pass
            try:
                for run, deadline_s in list(deadlines.items()):
                    if self._store.has_ended(run) or time.monotonic() > deadline_s:
                        self._settle(run)
                        del deadlines[run]
                self._note("")
            except MachineError as error:
                self._note(str(error))
                deadlines = {run: max(until, time.monotonic() + _OUTAGE_S) for run, until in deadlines.items()}
                time.sleep(_POLL_S)

    def _settle(self, run: str) -> None:
        self._store.fetch(run, self._folder / run, weights=False)
        if run in self.over():
            self._store.remove(run)

    def _note(self, problem: str) -> None:
        """Report the first failure of an outage, and its end."""
        if bool(problem) != bool(self._problem):
            self._on_event(
                f"{problem.rstrip('.')}; training continues" if problem else "the artifact store answers again"
            )
        self._problem = problem
