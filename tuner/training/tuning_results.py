"""Read the configurations that ultralytics' tuner has tried, and how good they were.

`model.tune()` of ultralytics 8.0 to 8.3 writes `tune_results.csv`: a column `fitness` and one for each parameter. Since
8.4 it writes `tune_results.ndjson`: an object for each iteration, with `fitness`, `hyperparameters`, the metrics of
each data set and the data sets on which training failed. Both write fitness 0 for an iteration that failed, and append
line by line, so the last line of a run that was killed can be cut off.
"""

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.contract import ParamValue
from tuner.exceptions import UsageError
from tuner.search.warm_start import Candidate, Source
from tuner.space import UnfitError, normalised

_MAX_BYTES = 64 << 20
"""Maximum file size; 10,000 iterations with metrics take a third of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """Iteration that gives no configuration to try."""

    line: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningResults:
    """Content of a file with configurations."""

    source: Source
    iterations: int
    """Number of iterations in the file, including those left out."""
    left_out: tuple[LeftOut, ...] = ()
    """In the order of the file."""
    notes: tuple[str, ...] = ()
    """One sentence each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Iteration:
    line: int
    fitness: float
    values: Mapping[str, Any]
    data_sets: int = 1
    failed: tuple[str, ...] = ()
    """Data sets on which training failed."""


_Read = Iterator[_Iteration | LeftOut]


def read_tuning_results(path: Path) -> TuningResults:
    """Read and rank the iterations of a `tune_results.csv` or `tune_results.ndjson`.

    Raises:
        UsageError: The file cannot be read, has another content, or no iteration that trained.
    """
    read: Callable[[str, Path], _Read] = _of_csv if path.suffix == ".csv" else _of_ndjson
    found = list(read(read_text(path), path))
    iterations = [each for each in found if isinstance(each, _Iteration)]
    results = [(iteration, _candidate(iteration, path)) for iteration in iterations]
    left_out = [each for each in (*found, *(result for _, result in results)) if isinstance(each, LeftOut)]
    usable = [(iteration, result) for iteration, result in results if isinstance(result, Candidate)]
    if not usable:
        why = f": line {left_out[0].line}: {left_out[0].reason}" if left_out else ""
        raise UsageError(f"A file of tuning results must have an iteration that trained, but '{path}' has none{why}.")
    return TuningResults(
        source=Source(
            name=str(path),
            ranked=tuple(candidate for _, candidate in sorted(usable, key=lambda each: -each[0].fitness)),
        ),
        iterations=len(found),
        left_out=tuple(sorted(left_out, key=lambda each: each.line)),
        notes=_notes(iterations),
    )


def read_text(path: Path) -> str:
    """Read a file of configurations; bytes that are not UTF-8 are replaced.

    Raises:
        UsageError: The file cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except IsADirectoryError as error:
        raise UsageError(
            f"'{path}' is a folder; give the file in it, such as {path / 'tune_results.ndjson'}."
        ) from error
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read ({error.strerror}); check its name and permissions.") from error
    if len(content) > _MAX_BYTES:
        raise UsageError(f"A file of tuning results must not exceed {_MAX_BYTES >> 20} MiB, but '{path}' does.")
    return content.decode("utf-8-sig", errors="replace")  # a character may be cut off too


def _of_ndjson(text: str, path: Path) -> _Read:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    for number, line in lines:
        try:
            record = json.loads(line, parse_int=float)  # a whole number may have hundreds of digits
        except (ValueError, RecursionError):
            yield LeftOut(line=number, reason=_damaged(number == lines[-1][0] and not text.endswith("\n")))
            continue
        values = record.get("hyperparameters") if isinstance(record, dict) else None
        if not isinstance(values, dict):
            yield LeftOut(line=number, reason="no record of an iteration with `hyperparameters`")
            continue
        data_sets, failed = record.get("datasets"), record.get("failed_datasets")
        yield _Iteration(
            line=number,
            fitness=_number(record.get("fitness")),
            values=values,
            data_sets=len(data_sets) if isinstance(data_sets, dict) else 1,
            failed=tuple(map(str, failed)) if isinstance(failed, list) else (),
        )


def _of_csv(text: str, path: Path) -> _Read:
    try:
        rows = [
            (number, cells)
            for number, cells in enumerate(csv.reader(text.splitlines(), strict=False), start=1)
            if cells
        ]
    except csv.Error as error:
        raise UsageError(f"'{path}' is not a CSV file ({error}); is it the right one?") from error
    header = [name.strip() for name in rows[0][1]] if rows else []
    if "fitness" not in header:
        columns = ", ".join(header[:4]) or "none"
        raise UsageError(
            f"A CSV file of tuning results must have a column `fitness`, but '{path}' has other columns: "
            f"{columns[:80]}; give the tune_results.csv of a tuning, not the results.csv of a training run."
        )
    for number, cells in rows[1:]:
        is_cut_off = number == rows[-1][0] and not text.endswith("\n")
        values = dict(zip(header, (_number(cell) for cell in cells), strict=False))
        if is_cut_off or len(cells) != len(header):
            yield LeftOut(line=number, reason=_damaged(is_cut_off))
        elif unreadable := [name for name, cell in zip(header, cells, strict=True) if not _is_number(cell)]:
            yield LeftOut(line=number, reason=f"`{unreadable[0]}` is not a number")
        else:
            yield _Iteration(line=number, fitness=values.pop("fitness"), values=values)


def _damaged(is_cut_off: bool) -> str:
    return "cut off: the tuning was stopped, or is still running" if is_cut_off else "damaged"


def _candidate(iteration: _Iteration, path: Path) -> Candidate | LeftOut:
    """Return the configuration of an iteration that trained on all data sets."""
    if iteration.failed:
        return LeftOut(line=iteration.line, reason=f"training failed on {', '.join(iteration.failed)[:80]}")
    if reason := nothing_learnt(iteration.fitness):
        return LeftOut(line=iteration.line, reason=reason)
    try:
        values = {name: _value(name, value) for name, value in iteration.values.items() if value is not None}
    except UnfitError as unfit:
        return LeftOut(line=iteration.line, reason=str(unfit))
    return Candidate(values=values, origin=f"fitness {iteration.fitness:.4f}, {path.name}:{iteration.line}")


def nothing_learnt(fitness: float) -> str:
    """Return the reason why a fitness says nothing about its configuration; "" if it says something."""
    is_some = math.isfinite(fitness) and fitness > 0
    return "" if is_some else f"fitness {fitness:g}: training failed, or learned nothing"


def _value(name: str, value: Any) -> ParamValue:
    """Return a value as in training.

    Raises:
        UnfitError: It is no single value.
    """
    if isinstance(value, bool | int | float | str):
        return normalised(name, value)
    raise UnfitError(f"`{name[:40]}` is not one value")


def _notes(iterations: Sequence[_Iteration]) -> tuple[str, ...]:
    data_sets = max(iteration.data_sets for iteration in iterations)
    return (f"Fitness is the mean over {data_sets} data sets.",) if data_sets > 1 else ()


def _number(value: Any) -> float:
    """Return a number; NaN for anything else."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan


def _is_number(cell: str) -> bool:
    return not math.isnan(_number(cell)) or cell.strip().lower() == "nan"
