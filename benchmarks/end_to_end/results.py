"""Results as a file of JSON lines, which is only appended to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.end_to_end.phases import Phases
from benchmarks.end_to_end.retraining import Retraining
from benchmarks.end_to_end.running import Search
from benchmarks.end_to_end.setup import Task
from benchmarks.end_to_end.tools import HandOver


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that is measured so far."""

    searches: Sequence[Search]
    retrainings: Sequence[Retraining]


def append(file: Path, line: Search | Retraining) -> None:
    """Add a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps({"kind": type(line).__name__, **asdict(line)}) + "\n")


def read(file: Path) -> Results:
    """Return the results; none without a file."""
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return Results(
        searches=[_search(row) for row in rows if row["kind"] == Search.__name__],
        retrainings=[Retraining(**_plain(row)) for row in rows if row["kind"] == Retraining.__name__],
    )


def _search(row: Mapping[str, Any]) -> Search:
    plain = _plain(row)
    return Search(**{**plain, "hand_over": HandOver(**plain["hand_over"]), "phases": Phases(**plain["phases"])})


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name != "kind"}
    return {**kept, "task": Task(**kept["task"])}
