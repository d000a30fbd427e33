"""Train one long run on this machine, without Ray."""

from collections.abc import Callable, Sequence

from tuner.contract import EndRecord, Outcome, Record, TrainRequest
from tuner.execution.trainer_process import TrainerProcess
from tuner.execution.watchdog import HangTimeouts
from tuner.trials.attempts import run_with_retries

_HEARTBEAT_S = 1.0


def train_here(
    request: TrainRequest,
    command: Sequence[str],
    *,
    hang_timeouts: HangTimeouts,
    on_record: Callable[[Record], None],
    should_stop: Callable[[], bool],
) -> EndRecord:
    """Train a request, despite lost processes; `on_record` receives every record except the end."""
    trainer = TrainerProcess(command)

    def attempt(listen: Callable[[Record], None]) -> EndRecord:
        trainer.send(request, hang_timeouts)
        while not should_stop():
            for record in trainer.receive(timeout_s=_HEARTBEAT_S):
                if isinstance(record, EndRecord):
                    return record
                listen(record)
        return EndRecord(outcome=Outcome.STOPPED)

    try:
        return run_with_retries(attempt, on_record)
    finally:
        trainer.stop_request()
        trainer.close()
