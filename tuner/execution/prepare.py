"""Have a trainer check a data set and a model before anything is trained."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tuner.contract import COMPILE_STEP, Outcome, PreparedRecord, PrepareRequest, ProgressRecord, Record
from tuner.exceptions import DataError, MachineError, UsageError
from tuner.execution.single_request import carry_out, nothing


def prepared_by(
    command: Sequence[str],
    data: str,
    model: str,
    directory: Path,
    *,
    gpus: bool = False,
    on_compile: Callable[[], None] = nothing,
    meanwhile: Callable[[], None] = nothing,
) -> PreparedRecord:
    """Have the trainer check a data set and a model.

    Args:
        command: Command of the trainer.
        data: Data set, as in the `PrepareRequest`.
        model: Model, as in the `PrepareRequest`.
        directory: Folder of the study.
        gpus: True to compile for the visible GPUs of this machine.
        on_compile: Called when the trainer starts to do so.
        meanwhile: Work to do while the trainer is busy; called once a second.

    Raises:
        DataError: the data set cannot be trained on.
        UsageError: the model does not exist.
        MachineError: the trainer does not work.
    """
    prepared: PreparedRecord | None = None

    def on_record(record: Record) -> None:
        nonlocal prepared
        if isinstance(record, PreparedRecord):
            prepared = record
        elif isinstance(record, ProgressRecord) and record.step == COMPILE_STEP:
            on_compile()

    request = PrepareRequest(data=data, model=model, directory=str(directory), gpus=gpus)
    end = carry_out(command, request, on_record, meanwhile=meanwhile)
    if end.outcome == Outcome.BAD_DATA:
        raise DataError(end.message)
    if end.outcome == Outcome.BAD_MODEL:
        raise UsageError(end.message)
    if end.outcome != Outcome.COMPLETED or prepared is None:
        raise MachineError(f"The trainer does not work: {end.message}. Run `tune doctor` to find the cause.")
    return prepared
