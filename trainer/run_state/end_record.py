"""Keep the end record of a run in its folder: complete or not at all, and only while the run has ended.

A later attempt reads from it whether a full run is complete, and `tune diagnose` how a run ended.
"""

from pathlib import Path

from trainer.system import atomic_files
from tuner.contract import EndRecord, decode, encode
from tuner.contract.run_folder import END


def write(directory: Path, end: EndRecord) -> None:
    """Write how the run in this folder ended.

    Raises:
        OSError: the record could not be written.
    """
    atomic_files.write_whole(directory / END, encode(end).encode())


def read(directory: Path) -> EndRecord | None:
    """Read how the run in this folder ended; None if it has not ended.

    Raises:
        ContractError: the file is not a record, because someone has changed it.
    """
    try:
        end = decode((directory / END).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return end if isinstance(end, EndRecord) else None


def remove(directory: Path) -> None:
    """Remove the record: the run continues."""
    (directory / END).unlink(missing_ok=True)
