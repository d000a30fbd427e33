"""Have a trainer check a data set, and pass on its progress."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tuner.contract import CleanedRecord, DataCheckRequest, Outcome, ProgressRecord, Record
from tuner.contract.data_report import Advice, DataReport, decode_report
from tuner.contract.run_folder import DATA_REPORT
from tuner.exceptions import DataError, MachineError
from tuner.execution.single_request import ask
from tuner.system.scratch import scratch_folder
from tuner.system.signals import trapped_signals

OnProgress = Callable[[str, int, int], None]
"""Callback with the name of a step, the number of images done, and their total."""


def check_data(
    data: str,
    trainer: Sequence[str],
    *,
    samples: bool = False,
    fix: Path | None = None,
    kept: bool = False,
    on_progress: OnProgress = lambda step, done, total: None,
) -> tuple[DataReport, CleanedRecord | None]:
    """Check the content of a data set and its flaws; the user's files are only read.

    Args:
        data: Path of the YAML, or `sample` or `sample:N`.
        trainer: Command of the trainer.
        samples: Add small images of the worst findings to the report.
        fix: New folder for a data set without the flaws; None for no clean copy.
        kept: Accept an earlier check if no file has changed since.
        on_progress: Called as the check progresses.

    Raises:
        DataError: the data set cannot be read at all, or the clean copy cannot be written.
        MachineError: the trainer does not work, or does not check data.
    """
    cleaned: CleanedRecord | None = None

    def listen(record: Record) -> None:
        nonlocal cleaned
        if isinstance(record, ProgressRecord):
            on_progress(record.step, record.done, record.total)
        if isinstance(record, CleanedRecord):
            cleaned = record

    with trapped_signals(), scratch_folder() as folder:
        request = DataCheckRequest(
            data=data,
            directory=str(folder),
            samples=samples,
            clean_copy="" if fix is None else str(fix.absolute()),
            use_cache=kept,
        )
        end = ask(trainer, request, listen)
        if end.outcome == Outcome.BAD_DATA:
            raise DataError(end.message)
        if end.outcome != Outcome.COMPLETED:
            raise _failed(end.message)
        return _report(folder / DATA_REPORT), cleaned


def advised_model(data: str, trainer: Sequence[str]) -> Advice:
    """Check a data set and return the advice on the model to start with; its choice is the model's name.

    Raises:
        DataError: the data set cannot be read, or must not be trained on as it is.
        MachineError: the trainer does not work, or does not check data.
    """
    report, _ = check_data(data, trainer, kept=True)
    return model_advice(report)


def model_advice(report: DataReport) -> Advice:
    """Return the advice on the model to start with; its choice is the model's name.

    Raises:
        DataError: the data set must not be trained on as it is.
        MachineError: the trainer's check suggests no model.
    """
    if report.refusal:
        raise DataError(report.refusal)
    advice = next((advice for advice in report.advice if advice.about == "model"), None)
    if advice is None:
        raise MachineError("The trainer's data check suggests no model.")
    return advice


def _report(file: Path) -> DataReport:
    try:
        return decode_report(file.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise _failed(f"it wrote no readable report ({error})") from error


def _failed(why: str) -> MachineError:
    return MachineError(f"The trainer cannot check data: {why.rstrip('.')}. Run `tune doctor` to find the cause.")
