"""Read the records of epochs that trainers keep in the folders of their runs."""

from collections.abc import Iterator
from pathlib import Path

from tuner.contract import ContractError, EpochRecord, decode
from tuner.contract.run_folder import RECORDS


def epoch_records(folder: Path) -> Iterator[EpochRecord]:
    """Yield the records of the epochs that a run has trained, up to the first line that a crash cut short.

    Yield nothing if the trainer writes no such file, or if it is on another machine.
    """
    try:
        lines = (folder / RECORDS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            record = decode(line)
        except ContractError:
            return
        if isinstance(record, EpochRecord):
            yield record
