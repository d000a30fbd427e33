"""Check a data set, and write a report of the findings."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from trainer.data.checking.check import check, checked
from trainer.data.checking.cleaning import require_free, write_cleaned
from trainer.data.checking.thumbnails import worst_samples
from trainer.data.dataset import DataSet
from trainer.data.opening import opened
from trainer.exceptions import DataError
from trainer.system import atomic_files
from tuner.contract import DataCheckRequest, EndRecord, Outcome, Record
from tuner.contract.data_report import DataReport, encode_report
from tuner.contract.run_folder import DATA_REPORT


def run(request: DataCheckRequest, emit: Callable[[Record], None]) -> EndRecord:
    """Check the data set, and write the report and, if requested, the cleaned copy."""
    try:
        dataset = opened(request.data)
        out = Path(request.clean_copy) if request.clean_copy else None
        if out is not None:
            require_free(dataset, out)
        report = _report(dataset, request, emit)
        atomic_files.write_whole(Path(request.directory) / DATA_REPORT, encode_report(report).encode())
        if out is not None:
            emit(write_cleaned(dataset, report, out))
    except DataError as error:
        return EndRecord(outcome=Outcome.BAD_DATA, message=str(error))
    return EndRecord(outcome=Outcome.COMPLETED)


def _report(dataset: DataSet, request: DataCheckRequest, emit: Callable[[Record], None]) -> DataReport:
    report = checked(dataset, emit) if request.use_cache else check(dataset, emit)
    if not request.samples:
        return report
    return replace(report, samples=tuple(worst_samples(dataset, report.findings)))
