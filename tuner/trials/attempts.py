"""Retry a run: count its failed attempts, and how far they came."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tuner.contract import EndRecord, EpochRecord, Record
from tuner.trials.retry_policy import FailedAttempt, Failure, failure_of, is_retried


@dataclass(kw_only=True, slots=True)
class Attempts:
    """The attempts at one run. Progress between two failures starts the count again (see `retry_policy`)."""

    failed: list[FailedAttempt] = field(default_factory=list)
    """The oldest first."""
    reached: int = 0
    """The last epoch that any attempt has trained; 0 for none."""

    def __post_init__(self) -> None:
        self.reached = max((self.reached, *(attempt.epoch for attempt in self.failed)))

    def note_epoch(self, epoch: int) -> bool:
        """Note an epoch that has been trained. Returns whether it is news, not told again after a restart."""
        is_news = epoch > self.reached
        self.reached = max(self.reached, epoch)
        return is_news

    def fail(self, failure: Failure, cause: str) -> bool:
        """Note that an attempt has failed. Returns whether the run is retried."""
        self.failed.append(FailedAttempt(failure=failure, epoch=self.reached, cause=cause))
        return is_retried(self.failed)


def run_with_retries(
    attempt: Callable[[Callable[[Record], None]], EndRecord], on_record: Callable[[Record], None]
) -> EndRecord:
    """Attempt one run until it ends for good.

    Args:
        attempt: carries out one attempt, passing on every record but the end, which it returns.
        on_record: gets every record of every attempt but the ends.
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
