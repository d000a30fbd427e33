"""Define a driver's interface to what it trains, a search or a re-evaluation, and the decisions it carries out."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from tuner.contract import Record, TrainRequest
from tuner.exceptions import TunerError


class Decision(StrEnum):
    """Tell a trainer what to do after a record."""

    CONTINUE = "continue"
    STOP = "stop"


class Workload(Protocol):
    """Requests to train, one for each free slot, until the workload is finished.

    `tuner.search.search.Search` and `tuner.comparison.reevaluation.Reevaluation` are workloads. The driver calls
    `suggest` when a slot is free, `report` for each record of a run, `on_lost` when its machine is gone, `requeue` when
    it was cut off without an end record, and `pass_time` every now and then.
    """

    @property
    def stop_reason(self) -> str | None:
        """Return why it ends early, once it does."""

    @property
    def problem(self) -> TunerError | None:
        """Return the error for the driver to raise in the end, if it ends with one."""

    @property
    def finished(self) -> bool:
        """Whether nothing more will be suggested."""

    @property
    def live(self) -> Mapping[int, object]:
        """Return what trains now, by number."""

    def suggest(self) -> TrainRequest | None:
        """Return the next run to train; none if there is nothing to train now."""

    def number_of(self, request: TrainRequest) -> int:
        """Return the number by which the methods below know a suggested run."""

    def report(self, number: int, record: Record) -> Decision:
        """Take in one record of a live run and decide whether it continues. Repeated records change nothing."""

    def on_lost(self, number: int, cause: str) -> None:
        """Handle a lost machine or process: the run is retried, unless that has failed too."""

    def requeue(self, number: int) -> None:
        """Put back a run that was cut off; it resumes from its last checkpoint when it is suggested again."""

    def stop(self, reason: str, problem: TunerError | None = None) -> None:
        """Suggest nothing more and stop every run at its next record; the study can resume later."""

    def pass_time(self, seconds: float) -> None:
        """Account for wall time. Raises whatever makes continuing impossible, such as a lost lease."""

    def epoch_seconds(self) -> float:
        """Return the time of an epoch in the slowest run so far; 0 before one has ended."""

    def close(self) -> None:
        """Tidy up when no trainer runs any more."""
