"""Keep the epoch records of one run on disk; a restarted run sends them again and does not train these epochs again."""

import os
from pathlib import Path

from trainer.system import atomic_files
from tuner.contract import ContractError, EpochRecord, decode, encode
from tuner.contract.run_folder import RECORDS, RESULTS


def trim_results(directory: Path, last_epoch: int) -> None:
    """Keep the first row of each epoch up to `last_epoch` (1-based) in ultralytics' `results.csv`, if it exists.

    A resumed run appends its rows, including those of epochs that it trains again.
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
    """`records.jsonl` in the run's directory, with one epoch record per line, in the order of the epochs.

    A record is on disk before the checkpoint of its epoch becomes visible, so the checkpoint is never ahead of the
    log. After a crash between the two, the log can be ahead: `restore` drops these records, because their epochs are
    trained again.
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
        """Return the records up to `last_epoch` (1-based; 0 for none); drop later and broken lines from the file."""
        kept = tuple(record for record in self.read() if record.epoch <= last_epoch)
        atomic_files.write_whole(self._path, "".join(encode(record) + "\n" for record in kept).encode())
        return kept

    def read(self) -> tuple[EpochRecord, ...]:
        """Return all complete records; skip a last line that a crash truncated."""
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
