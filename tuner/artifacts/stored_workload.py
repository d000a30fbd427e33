"""Train a workload on machines that share no folder: its requests name a store, and its files come from there."""

from collections.abc import Collection, Mapping
from pathlib import Path

from tuner.artifacts.runs import StoredRuns
from tuner.contract import EndRecord, Record, TrainRequest
from tuner.exceptions import TunerError
from tuner.trials.live import LiveTrial
from tuner.trials.workload import Decision, Workload


class StoredWorkload:
    """Workload, as a `tuner.trials.workload.Workload`, whose runs keep their files in a store."""

    def __init__(self, workload: Workload, runs: StoredRuns, *, data: str, model: str) -> None:
        """Wrap a workload.

        Args:
            workload: Workload to train.
            runs: Runs of the study in the store.
            data: Data set as the user named it.
            model: Model as the user named it.
        """
        self._workload = workload
        self._runs = runs
        self._data = data
        self._model = model
        self._directories: dict[int, Path] = {}

    @property
    def stop_reason(self) -> str | None:
        """Reason why the workload ends early; None if it does not."""
        return self._workload.stop_reason

    @property
    def problem(self) -> TunerError | None:
        """Error for the driver to raise at the end; None if there is none."""
        return self._workload.problem

    @property
    def finished(self) -> bool:
        """True if no more runs will be suggested."""
        return self._workload.finished

    @property
    def live(self) -> Mapping[int, LiveTrial]:
        """Live runs, by number."""
        return self._workload.live

    @property
    def has_next(self) -> bool:
        """True if `suggest` would return a request now."""
        return self._workload.has_next

    def suggest(self, avoided: Collection[int] = ()) -> TrainRequest | None:
        """Return the request for the next run; None if there is nothing to train now."""
        request = self._workload.suggest(avoided)
        if request is None:
            return None
        self._directories[self._workload.number_of(request)] = Path(request.directory)
        return self._runs.request(request, data=self._data, model=self._model)

    def number_of(self, request: TrainRequest) -> int:
        """Return the number that identifies a suggested run in the methods below."""
        return self._workload.number_of(request)

    def report(self, number: int, record: Record) -> Decision:
        """Process a record of a live run and decide whether it continues."""
        decision = self._workload.report(number, record)
        if decision == Decision.STOP or isinstance(record, EndRecord):
            self._note_end(number)
        return decision

    def on_lost(self, number: int, cause: str) -> None:
        """Handle a lost machine or process: retry the run, unless its retries are used up."""
        self._workload.on_lost(number, cause)
        self._note_end(number)

    def requeue(self, number: int) -> None:
        """Put an interrupted run back; it resumes from its last checkpoint when it is suggested again."""
        self._workload.requeue(number)

    def stop(self, reason: str, problem: TunerError | None = None) -> None:
        """Suggest nothing more and stop every run at its next record; the study can resume later."""
        self._workload.stop(reason, problem)

    def pass_time(self, seconds: float) -> None:
        """Account for wall time. Raise any error that makes continuing impossible, such as a lost lease."""
        self._workload.pass_time(seconds)

    def epoch_seconds(self) -> float:
        """Return the epoch time of the slowest run so far, in seconds; 0 before the first epoch has ended."""
        return self._workload.epoch_seconds()

    def close(self) -> None:
        """Clean up after the last trainer has ended."""
        self._workload.close()

    def _note_end(self, number: int) -> None:
        if number in self._directories:
            self._runs.note_end(self._directories[number])
