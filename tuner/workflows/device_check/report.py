"""Write what the checks found: JSON for programs, Markdown for people and for a bug report."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuner.contract import ParamValue, Table
from tuner.system.atomic_files import write_whole
from tuner.workflows.device_check.results import CheckResult, Status

MARKDOWN, JSON = "gpu-check.md", "gpu-check.json"
_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Facts about the machine, and the results so far."""

    facts: Mapping[str, str]
    problems: tuple[str, ...]
    """Problems that `tune doctor` finds without a check."""
    results: tuple[CheckResult, ...]


def write(report: Report, folder: Path) -> None:
    """Write both files; an interrupted check leaves them complete up to the last result."""
    write_whole(folder / JSON, _anonymous(json.dumps(as_json(report), indent=2) + "\n").encode())
    write_whole(folder / MARKDOWN, _anonymous(as_markdown(report)).encode())


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as a JSON object."""
    return {
        "version": _VERSION,
        "facts": dict(report.facts),
        "problems": list(report.problems),
        "checks": [asdict(result) for result in report.results],
    }


def as_markdown(report: Report) -> str:
    """Return the report as a page of Markdown."""
    counts = [f"{sum(r.status == status for r in report.results)} {status}" for status in Status]
    lines = ["# GPU check", "", f"Checks: {', '.join(counts)}.", ""]
    lines += [f"- **Problem:** {problem}" for problem in report.problems]
    lines += ["", *_rows(["", ""], [[name, value] for name, value in report.facts.items()]), ""]
    for result in report.results:
        lines += [section(result), ""]
    return "\n".join(lines)


def section(result: CheckResult) -> str:
    """Return one result as a section of Markdown."""
    lines = [f"## {result.name} on {result.device}: {result.status}, {result.seconds:.0f} s"]
    lines += [line for problem in result.problems for line in ("", f"**{_kind(result)}:** {problem}")]
    for table in result.tables:
        lines += ["", f"{table.title}:", "", *_table(table)]
    lines += ["", *(f"- {note}" for note in result.notes)] if result.notes else []
    if result.log:
        lines += ["", "```", result.log, "```"]
    return "\n".join(lines)


def _kind(result: CheckResult) -> str:
    return "Not finished" if result.status == Status.UNFINISHED else "Problem"


def _table(table: Table) -> list[str]:
    columns = list(dict.fromkeys(name for row in table.rows for name in row))
    cells = [[_shown(name, row[name]) if name in row else "" for name in columns] for row in table.rows]
    return _rows([name.replace("_", " ") for name in columns], cells)


def _rows(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *cells)]


def _shown(column: str, value: ParamValue) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.1e}" if column.endswith("_error") else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def _anonymous(text: str) -> str:
    """Replace the home folder, which names the user; that of a container may be the root of all paths."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home raises for a user without one
    return text.replace(home, "~") if len(Path(home).parts) > 1 else text
