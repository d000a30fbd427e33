"""Results file: one JSON object per line, one line per run."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Key(NamedTuple):
    """Identity of a run."""

    task: str
    method: str
    seed: int
    workers: int
    budget: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One search on one task."""

    key: Key
    regret: Mapping[int, float]
    """Regret by percent of the budget."""
    trials: int
    full_runs: int
    dead_epoch_share: float
    idle_share: float
    decision_p95_ms: float
    cpu_s: float


def read(path: Path) -> list[Run]:
    """Read all runs of a file. Duplicate runs count once; a line truncated by a killed writer is ignored."""
    runs: dict[Key, Run] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            run = _run(json.loads(line))
        except json.JSONDecodeError:
            continue
        runs.setdefault(run.key, run)
    return list(runs.values())


def append(path: Path, line: str) -> None:
    """Append one run in a single write, so that concurrent writers do not mix lines and readers see whole ones."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(file).st_size
        torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        os.write(file, b"\n" * torn + f"{line}\n".encode())
    finally:
        os.close(file)


def as_line(key: Key, measured: Mapping[str, Any], cpu_s: float) -> str:
    """Format a run as a line of the file.

    Args:
        key: Identity of the run.
        measured: Result of `tuner.simulation.measures`.
        cpu_s: CPU time in seconds.
    """
    return json.dumps({**key._asdict(), **measured, "cpu_s": cpu_s})


def _run(record: Mapping[str, Any]) -> Run:
    return Run(
        key=Key(*(record[name] for name in Key._fields)),
        regret={int(percent): regret for percent, regret in record["regret"].items()},
        trials=record["trials"],
        full_runs=record["full_runs"],
        dead_epoch_share=record["dead_epoch_share"],
        idle_share=record["idle_share"],
        decision_p95_ms=record["decision_ms"]["p95"],
        cpu_s=record["cpu_s"],
    )
