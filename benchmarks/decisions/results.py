"""Results file: one JSON object per line, one line per run."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

DEFAULTS = ("none", "first")
"""`none`: nobody knows a default configuration; `first`: every search tries the default first."""
COSTS = ("seconds", "epochs")
"""`seconds`: an epoch costs its recorded time; `epochs`: every epoch costs the same."""


class Setting(NamedTuple):
    """Circumstances of a search, apart from its table, method and seed."""

    workers: int
    budget: float
    """Worker time in full runs."""
    default: str
    """One of `DEFAULTS`."""
    cost: str
    """One of `COSTS`."""


class Key(NamedTuple):
    """Identity of a run."""

    family: str
    """Name of the folder that holds the task's table."""
    task: str
    method: str
    seed: int
    setting: Setting


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


def read(*paths: Path) -> list[Run]:
    """Read all runs of some files. Duplicate runs count once; a line truncated by a killed writer is ignored."""
    runs: dict[Key, Run] = {}
    for line in (line for path in paths if path.exists() for line in path.read_text().splitlines()):
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
    identity = {**key._asdict(), "setting": key.setting._asdict()}
    return json.dumps({**identity, **measured, "cpu_s": cpu_s})


def _run(record: Mapping[str, Any]) -> Run:
    return Run(
        key=Key(**{name: record[name] for name in Key._fields} | {"setting": Setting(**record["setting"])}),
        regret={int(percent): regret for percent, regret in record["regret"].items()},
        trials=record["trials"],
        full_runs=record["full_runs"],
        dead_epoch_share=record["dead_epoch_share"],
        idle_share=record["idle_share"],
        decision_p95_ms=record["decision_ms"]["p95"],
        cpu_s=record["cpu_s"],
    )
