"""Count the failed attempts at a run, and retry it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tuner.contract import EndRecord, EpochRecord, Record
from tuner.study import FailedAttempt
from tuner.trials.retry_policy import Failure, failure_of, is_retried


@dataclass(kw_only=True, slots=True)
class Attempts:
    """Attempts at one run. Progress between two failures resets the count (see `retry_policy`)."""

    failed: list[FailedAttempt] = field(default_factory=list)
    """Failed attempts, the oldest first."""
    reached: int = 0
    """Last epoch that any attempt has trained; 0 before the first."""

    def __post_init__(self) -> None:
        self.reached = max((self.reached, *(attempt.epoch for attempt in self.failed)))

    def note_epoch(self, epoch: int) -> bool:
        """Note a trained epoch. Return True if it is new, False if an earlier attempt had trained it."""
        is_news = epoch > self.reached
        self.reached = max(self.reached, epoch)
        return is_news

    def fail(self, failure: Failure, cause: str) -> bool:
        """Note a failed attempt. Return True if the run is retried."""
        self.failed.append(FailedAttempt(failure=failure, epoch=self.reached, cause=cause))
        return is_retried(self.failed)


def run_with_retries(
    attempt: Callable[[Callable[[Record], None]], EndRecord], on_record: Callable[[Record], None]
) -> EndRecord:
    """Attempt a run until it ends for good, and return its last end record.

    Args:
        attempt: Function that makes one attempt: it passes on every record except the end record, which it returns.
        on_record: Function that receives the records of all attempts, except the end records.
    """
    attempts = Attempts()

    def listen(record: Record) -> None:
        if isinstance(record, EpochRecord):
            attempts.note_epoch(record.epoch)
        on_record(record)

    while True:
        end = attempt(listen)
        failure = failure_of(end)
        if failure is None or not attempts.fail(failure, end.message):
            return end
