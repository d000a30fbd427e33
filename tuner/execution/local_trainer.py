"""One long run on this machine, without Ray; and what any long run does about failures that may pass."""

from collections.abc import Callable, Sequence

from tuner.contract import EndRecord, EpochRecord, Outcome, Record, TrainRequest
from tuner.execution.trainer_process import TrainerProcess
from tuner.execution.watchdog import Patience
from tuner.trials.retry_policy import Setback, failure_of, is_retried

_HEARTBEAT_S = 1.0


def train_here(
    request: TrainRequest,
    command: Sequence[str],
    *,
    patience: Patience,
    hear: Callable[[Record], None],
    should_stop: Callable[[], bool],
) -> EndRecord:
    """Run one request to its end, through lost processes; `hear` gets every record but the end."""
    trainer = TrainerProcess(command)

    def attempt(listen: Callable[[Record], None]) -> EndRecord:
        trainer.send(request, patience)
        while not should_stop():
            for record in trainer.receive(timeout_s=_HEARTBEAT_S):
                if isinstance(record, EndRecord):
                    return record
                listen(record)
        return EndRecord(outcome=Outcome.STOPPED)

    try:
        return until_it_holds(attempt, hear)
    finally:
        trainer.stop_request()
        trainer.close()


def until_it_holds(
    attempt: Callable[[Callable[[Record], None]], EndRecord], hear: Callable[[Record], None]
) -> EndRecord:
    """Attempt a run again as often as its failures may pass; `hear` gets every record but the end."""
    setbacks: list[Setback] = []
    reached = 0

    def listen(record: Record) -> None:
        nonlocal reached
        if isinstance(record, EpochRecord):
            reached = max(reached, record.epoch)
        hear(record)

    while True:
        end = attempt(listen)
        failure = failure_of(end)
        if failure is None:
            return end
        setbacks.append(Setback(failure=failure, epoch=reached, cause=end.message))
        if not is_retried(setbacks):
            return end
