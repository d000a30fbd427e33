"""The epoch records of one run on disk: what a restarted run sends again, and never trains twice."""

import os
from pathlib import Path

from trainer.system import atomic_files
from tuner.contract import ContractError, EpochRecord, decode, encode
from tuner.contract.run_folder import RECORDS, RESULTS


def trim_results(directory: Path, last_epoch: int) -> None:
    """Leave the first row of each epoch up to `last_epoch` (1-based) in ultralytics' `results.csv`, if there is one.

    A run that goes on appends its rows, those of epochs that are trained again too.
    """
    path = directory / RESULTS
    if not path.exists():
        return
    header, *rows = path.read_bytes().splitlines(keepends=True) or [b""]
    kept: dict[int, bytes] = {}
    for row in rows:
        number = row.partition(b",")[0].strip()
        if number.isdigit() and int(number) <= last_epoch and row.endswith(b"\n"):
            kept.setdefault(int(number), row)
    atomic_files.write_whole(path, header + b"".join(kept.values()))


class RecordLog:
    """`records.jsonl` in the run's directory, one epoch record a line, in the order of the epochs.

    A record is on disk before the checkpoint of its epoch becomes visible, so the checkpoint never knows an
    epoch that the log does not. The reverse can happen, after a crash between the two: `restore` forgets
    such records, since their epoch will be trained again.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / RECORDS

    def append(self, record: EpochRecord) -> None:
        """Write one record and wait until it is on the disk."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(encode(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def restore(self, last_epoch: int) -> tuple[EpochRecord, ...]:
        """The records up to `last_epoch` (1-based; 0 for none); later or broken lines are dropped from the file."""
        kept = tuple(record for record in self.read() if record.epoch <= last_epoch)
        atomic_files.write_whole(self._path, "".join(encode(record) + "\n" for record in kept).encode())
        return kept

    def read(self) -> tuple[EpochRecord, ...]:
        """All whole records; a last line cut short by a crash is left out."""
        if not self._path.exists():
            return ()
        records = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                record = decode(line)
            except ContractError:
                break
            if isinstance(record, EpochRecord):
                records.append(record)
        return tuple(records)
