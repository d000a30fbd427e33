"""Have a fresh trainer carry out one request."""

import math
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tuner.contract import EndRecord, Outcome, Record, Request
from tuner.exceptions import MachineError
from tuner.execution.trainer_process import TrainerProcess

FIRST_RECORD_S = 120.0
"""Seconds within which a trainer that knows an optional request sends `started`."""

_SILENCE_S = 1.0
"""Seconds without a record after which there is time for other work; a wrong path is reported sooner."""

_LONGEST_COMMAND = 200
_ERRORS = "trainer-errors.log"


def nothing() -> None:
    """Do nothing meanwhile."""


def carry_out(
    command: Sequence[str],
    request: Request,
    on_record: Callable[[Record], None],
    *,
    meanwhile: Callable[[], None] = nothing,
) -> EndRecord:
    """Carry out a request that every trainer knows, however long it takes.

    Args:
        command: Command of the trainer.
        request: Request to carry out.
        on_record: Called with every record but the end.
        meanwhile: Called whenever the trainer has started and then says nothing for a second.
    """
    trainer = TrainerProcess(command)
    return _carried_out(trainer, request, on_record, meanwhile, first_record_s=math.inf, timeout_s=math.inf)


def ask(
    command: Sequence[str], request: Request, on_record: Callable[[Record], None], *, timeout_s: float = math.inf
) -> EndRecord:
    """Carry out a request that a trainer need not know; its standard error is not shown.

    Args:
        command: Command of the trainer.
        request: Request to carry out; its directory exists.
        on_record: Called with every record but the end.
        timeout_s: Maximum time for the whole request in seconds.

    Raises:
        MachineError: the trainer answers that it does not know the request.
    """
    trainer = TrainerProcess(command, error_log=Path(request.directory) / _ERRORS)
    first_record_s = min(FIRST_RECORD_S, timeout_s)
    end = _carried_out(trainer, request, on_record, nothing, first_record_s=first_record_s, timeout_s=timeout_s)
    if end.outcome == Outcome.UNSUPPORTED:
        named = " ".join(shlex.join(command).split())[:_LONGEST_COMMAND]
        raise MachineError(
            f"This needs a trainer that answers '{request.type}' requests, but '{named}' does not; "
            "omit --trainer and TUNE_TRAINER, or add the request to the trainer (see `tuner.contract`)."
        )
    return end


def _carried_out(
    trainer: TrainerProcess,
    request: Request,
    on_record: Callable[[Record], None],
    meanwhile: Callable[[], None],
    *,
    first_record_s: float,
    timeout_s: float,
) -> EndRecord:
    began_s = time.monotonic()
    limit_s = first_record_s
    has_started = False
    try:
        trainer.send(request)
        while time.monotonic() - began_s < limit_s:
            records = trainer.receive(timeout_s=min(_SILENCE_S, limit_s))
            if has_started and not records:
                meanwhile()
            for record in records:
                has_started, limit_s = True, timeout_s
                if isinstance(record, EndRecord):
                    return record
                on_record(record)
        return EndRecord(outcome=Outcome.HUNG, message="it did not answer in time")
    finally:
        trainer.close()
