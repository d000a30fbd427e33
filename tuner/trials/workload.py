"""Define the interface between a driver and the workload that it trains: a search or a re-evaluation."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Protocol

from tuner.contract import Record, TrainRequest
from tuner.exceptions import TunerError
from tuner.trials.live import LiveTrial


class Decision(StrEnum):
    """Instruction for a trainer after a record."""

    CONTINUE = "continue"
    STOP = "stop"


class Workload(Protocol):
    """Source of training requests, one for each free slot, until the workload is finished.

    `tuner.search.search.Search` and `tuner.comparison.reevaluation.Reevaluation` are workloads. The driver calls
    `suggest` when a slot is free, `report` for each record of a run, `on_lost` when its machine is gone, `requeue` when
    it was interrupted without an end record, and `pass_time` at intervals.
    """

    @property
    def stop_reason(self) -> str | None:
        """Reason why the workload ends early; None if it does not."""

    @property
    def problem(self) -> TunerError | None:
        """Error for the driver to raise at the end; None if there is none."""

    @property
    def finished(self) -> bool:
        """True if no more runs will be suggested."""

    @property
    def live(self) -> Mapping[int, LiveTrial]:
        """Live runs, by number."""

    @property
    def has_next(self) -> bool:
        """True if `suggest` would return a request now."""

    def suggest(self, avoided: Collection[int] = ()) -> TrainRequest | None:
        """Return the request for the next run; None if there is nothing to train now.

        Args:
            avoided: Numbers of waiting runs that are suggested only if there are no others.
        """

    def number_of(self, request: TrainRequest) -> int:
        """Return the number that identifies a suggested run in the methods below."""

    def report(self, number: int, record: Record) -> Decision:
        """Process a record of a live run and decide whether it continues. Repeated records change nothing."""

    def on_lost(self, number: int, cause: str) -> None:
        """Handle a lost machine or process: retry the run, unless its retries are used up."""

    def requeue(self, number: int) -> None:
        """Put an interrupted run back; it resumes from its last checkpoint when it is suggested again."""

    def stop(self, reason: str, problem: TunerError | None = None) -> None:
        """Suggest nothing more and stop every run at its next record; the study can resume later."""

    def pass_time(self, seconds: float) -> None:
        """Account for wall time. Raise any error that makes continuing impossible, such as a lost lease."""

    def epoch_seconds(self) -> float:
        """Return the epoch time of the slowest run so far, in seconds; 0 before the first epoch has ended."""

    def close(self) -> None:
        """Clean up after the last trainer has ended."""
