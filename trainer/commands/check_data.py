"""The service behind `tune data check`: a data set is judged, and what was found left in a file.

On standard output it prints JSON, an object a line: how far it is, at the end what was written.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from trainer.data.checking.check import Progress, check, checked
from trainer.data.checking.cleaning import require_free, write_cleaned
from trainer.data.checking.thumbnails import worst_samples
from trainer.data.dataset import resolve
from trainer.data.sample import sample
from trainer.system import atomic_files
from tuner.contract.data_report import encode_report


def run(data: str, report_file: Path, *, samples: bool, fix: Path | None, kept: bool = False) -> None:
    """Check the data set and write the report.

    Args:
        data: the YAML's path, or the name of the sample data set.
        report_file: where the report goes.
        samples: whether with small pictures of the worst.
        fix: a new folder for a cleaned data set.
        kept: whether an earlier check will do where no file has changed since.

    Raises:
        DataError: the data set cannot be read, or the cleaned one not be written.
    """
    dataset = resolve(sample.located(data))
    if fix is not None:
        require_free(dataset, fix)
    report = checked(dataset, _tell) if kept else check(dataset, _tell)
    if samples:
        report = replace(report, samples=tuple(worst_samples(dataset, report.findings)))
    atomic_files.write(report_file, encode_report(report).encode())
    if fix is not None:
        cleaned = write_cleaned(dataset, report, fix)
        _print({"cleaned": {**asdict(cleaned), "data": str(cleaned.data)}})


def _tell(progress: Progress) -> None:
    _print(asdict(progress))


def _print(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
