"""Keep the end record of a run in its folder: whole or not at all, and only while the run has ended.

A later attempt reads there that a full run is complete, `tune diagnose` how a run ended.
"""

from pathlib import Path

from trainer.system import atomic_files
from tuner.contract import EndRecord, decode, encode
from tuner.contract.run_folder import END


def write(directory: Path, end: EndRecord) -> None:
    """Write how the run in this folder ended.

    Raises:
        OSError: it could not be written.
    """
    atomic_files.write_whole(directory / END, encode(end).encode())


def read(directory: Path) -> EndRecord | None:
    """Read how the run in this folder ended; none if it has not.

    Raises:
        ContractError: the file is not a record: somebody has changed it.
    """
    try:
        end = decode((directory / END).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return end if isinstance(end, EndRecord) else None


def remove(directory: Path) -> None:
    """Remove the record: the run continues."""
    (directory / END).unlink(missing_ok=True)
