"""Has a trainer check a data set and a model before anything is trained."""

from collections.abc import Sequence
from pathlib import Path

from tuner.contract import EndRecord, Outcome, PreparedRecord, PrepareRequest
from tuner.exceptions import DataError, MachineError, UsageError
from tuner.execution.trainer_process import TrainerProcess


def prepared_by(command: Sequence[str], data: str, model: str, directory: Path) -> PreparedRecord:
    """Have the trainer check a data set and a model.

    Raises:
        DataError: the data set cannot be trained on.
        UsageError: there is no such model.
        MachineError: the trainer does not work.
    """
    trainer = TrainerProcess(command)
    try:
        trainer.send(PrepareRequest(data=data, model=model, directory=str(directory)))
        prepared: PreparedRecord | None = None
        while True:
            for record in trainer.receive(timeout_s=1.0):
                if isinstance(record, PreparedRecord):
                    prepared = record
                if isinstance(record, EndRecord):
                    return _prepared(prepared, record)
    finally:
        trainer.close()


def _prepared(prepared: PreparedRecord | None, end: EndRecord) -> PreparedRecord:
    if end.outcome == Outcome.BAD_DATA:
        raise DataError(end.message)
    if end.outcome == Outcome.BAD_MODEL:
        raise UsageError(end.message)
    if end.outcome != Outcome.COMPLETED or prepared is None:
        raise MachineError(f"The trainer cannot be used: {end.message}. `tune doctor` looks for the cause.")
    return prepared
