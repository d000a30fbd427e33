"""Find the records of a run and read them, within size limits and without changing anything."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePath

from tuner.contract import Outcome
from tuner.contract.run_folder import ARGUMENTS, BEST_WEIGHTS, END, LOG, RECORDS, REQUEST, RESULTS, WEIGHTS
from tuner.diagnosis._arguments import arguments_of_request, arguments_of_yaml, task_of, trains_from_scratch
from tuner.diagnosis._records import end_of_log, end_of_record, epochs_of_records, with_validation_losses
from tuner.diagnosis._results_csv import Table, table_of_csv
from tuner.diagnosis.columns import YOLO, Task, columns_of_records
from tuner.diagnosis.runs import ArgumentValue, Run, RunEpoch
from tuner.exceptions import UsageError
from tuner.system.printable import printable

MAX_BYTES = 16 * 2**20
"""Largest file that is read; at about 150 bytes for a row of results.csv this holds 100,000 epochs."""

_SIGNS = (RECORDS, RESULTS, REQUEST)
_TAIL_BYTES = 64 * 1024
_JUDGED_WITHOUT_EPOCHS = (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY)
_MOST_LOOKED_AT = 2000
_MOST_NAMED = 5
_DEEPEST = 4
_LONGEST_NAME = 100
_NOTHING = Table(epochs=(), columns=YOLO, unknown=(), notes=())


def read_run(path: Path) -> Run:
    """Read the run with this folder, results.csv or records.jsonl.

    Raises:
        UsageError: there is no run, or its records cannot be read.
    """
    folder, table = _places(path)
    arguments, argument_notes = _arguments(folder)
    told = _told(folder, table, task_of(arguments))
    epochs = told.epochs
    if arguments.get("val") is False:
        epochs = _without_stale_metrics(epochs, arguments)
    end = end_of_record(_tail(folder / END)) or end_of_log(_tail(folder / LOG))
    if not epochs and (end is None or end.outcome not in _JUDGED_WITHOUT_EPOCHS):
        raise UsageError(f"A diagnosis needs at least one epoch, but '{path}' has none yet; wait for the first.")
    planned = arguments.get("epochs")
    best = folder / WEIGHTS / BEST_WEIGHTS
    return Run(
        source=str(path),
        epochs=epochs,
        columns=told.columns,
        unknown=told.unknown,
        planned_epochs=planned if isinstance(planned, int) and planned > 0 else None,
        params=arguments,
        from_scratch=trains_from_scratch(arguments),
        outcome=end.outcome if end else None,
        message=end.message if end else "",
        best_weights=str(best.absolute()) if best.is_file() else "",
        notes=(*told.notes, *argument_notes),
    )


def _places(path: Path) -> tuple[Path, Path]:
    """Return the folder of the run, and its results.csv, which may have another name."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"A run must be a folder or its results.csv, but '{path}' is not ({reason}).") from error
    if stat.S_ISDIR(mode):
        return _folder(path), path / RESULTS
    if stat.S_ISREG(mode) and path.suffix == ".csv":
        return path.parent, path
    if stat.S_ISREG(mode) and path.name in {RECORDS, ARGUMENTS, REQUEST}:
        return path.parent, path.parent / RESULTS
    raise UsageError(
        f"A run must be a folder with {RECORDS} or {RESULTS} in it, or one of these files, but got '{path}'; "
        "give the folder that the training wrote."
    )


def _folder(path: Path) -> Path:
    if any((path / name).is_file() for name in _SIGNS):
        return path
    found = sorted({file.parent for name in _SIGNS for file in islice(_below(path, name), _MOST_LOOKED_AT)})
    if not found:
        raise UsageError(f"A run's folder must hold {RECORDS} or {RESULTS}, but '{path}' has neither.")
    named = ", ".join(f"'{run}'" for run in found[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    raise UsageError(f"The path must contain one run, but '{path}' has {len(found)}; give one of {named}{more}.")


def _below(root: Path, name: str) -> Iterator[Path]:
    """Yield files with this name, at most four folders deep; the runs of a study are two folders below it."""
    for number, (folder, folders, files) in enumerate(os.walk(root)):
        if number >= _MOST_LOOKED_AT:
            return
        folders.sort()
        if len(Path(folder).relative_to(root).parts) >= _DEEPEST:
            folders.clear()
        if name in files and Path(folder, name).is_file():
            yield Path(folder, name)


def _told(folder: Path, table: Path, task: Task | None) -> Table:
    """Return the content of our trainer's records, with the validation losses of the table, or of the table alone."""
    records = folder / RECORDS
    in_table = table_of_csv(_text(table), _named(table), task) if table.is_file() else _NOTHING
    if not records.is_file() or table.name != RESULTS:
        return in_table
    epochs, notes = epochs_of_records(_text(records), _named(records))
    losses = dict.fromkeys(name for epoch in epochs for name in epoch.train)
    return Table(
        epochs=with_validation_losses(epochs, in_table.epochs),
        columns=columns_of_records(losses) if losses else YOLO,
        unknown=(),
        notes=(*notes, *in_table.notes),
    )


def _arguments(folder: Path) -> tuple[dict[str, ArgumentValue], tuple[str, ...]]:
    if (folder / ARGUMENTS).is_file():
        found, notes = arguments_of_yaml(_text(folder / ARGUMENTS))
    elif (folder / REQUEST).is_file():
        found, notes = arguments_of_request(_text(folder / REQUEST)), ()
    else:
        return {}, (f"there is no {ARGUMENTS} next to the records, so the plan and the arguments are unknown",)
    return found | _portable_model(folder, found), notes


def _portable_model(folder: Path, arguments: Mapping[str, ArgumentValue]) -> dict[str, ArgumentValue]:
    """Return the model of a study's run in the form that a plain `yolo` reads; the study keeps it two folders up."""
    model = arguments.get("model")
    if not (folder / REQUEST).is_file() or not isinstance(model, str):
        return {}
    portable = folder.absolute().parent.parent / f"{PurePath(model).stem[:_LONGEST_NAME]}-untrained.pt"
    return {"model": str(portable), "pretrained": False} if portable.is_file() else {}


def _without_stale_metrics(
    epochs: tuple[RunEpoch, ...], arguments: Mapping[str, ArgumentValue]
) -> tuple[RunEpoch, ...]:
    """Remove repeated values: with val=False only the last planned epoch is validated."""
    return tuple(e if e.epoch == arguments.get("epochs") else replace(e, val=None, metrics=None) for e in epochs)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"The records of a run must be readable, but '{path}' is not ({error.strerror}).") from error
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"A run's file must not exceed {MAX_BYTES} bytes, but '{path}' does; check that it is the right file."
        )
    return content.decode("utf-8-sig", errors="replace")


def _tail(path: Path) -> str:
    """Return the end of a file; empty if there is no file."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
            return file.read(_TAIL_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _named(path: Path) -> str:
    return printable(str(path))
