"""Summarise the studies of a home and of a database: one row for each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tuner.comparison.contest import Conclusion
from tuner.comparison.record import reevaluated
from tuner.exceptions import TunerError
from tuner.storage.urls import sqlite_url
from tuner.study import ReadableStudy, StoredStudy, StudyDatabase, StudyPaths
from tuner.system.printable import printable
from tuner.training.final_run import choose_winner

STUDIES_VERSION = 2
"""Version of the data that `studies_facts` returns; version 1 had names only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySummary:
    """Row of the list of studies; None means that there is none yet."""

    name: str
    state: str
    """running (it has a driver), waiting (unfinished, and nobody continues it), finished, empty or unreadable."""
    metric: str = ""
    best: float | None = None
    """Metric of the winner in the search."""
    gain: float | None = None
    """Winner minus default configuration: by the re-evaluation if there is a verdict, otherwise on one seed."""
    verdict: str | None = None
    """Conclusion of the re-evaluation; None before there is one."""
    ended: int = 0
    """Number of trials that have ended."""
    trials: int = 0
    gpu_hours: float = 0.0
    """Training time of search and re-evaluation; a share of a GPU counts as this share, a slot on the CPU as a GPU."""
    changed: str | None = None
    """Last change, in UTC."""
    problem: str = ""
    """Reason why the study cannot be read."""


def summaries(home: Path, names: Sequence[str], storages: Sequence[str]) -> list[StudySummary]:
    """Summarise the studies below `home`, and those of databases, ordered by name; a broken study gets a row too.

    Args:
        home: Folder that holds the studies.
        names: Names of the studies that have a database in their folder.
        storages: URLs of databases with further studies; studies of the same name in several of them get a row each.
    """
    found: list[StudySummary] = []
    for url in dict.fromkeys(storages):
        with StudyDatabase(url) as database:
            found += [_summary(home, database, name) for name in database.names()]
    elsewhere = {summary.name for summary in found}
    found += [_own_summary(home, name) for name in names if name not in elsewhere]
    return sorted(found, key=lambda summary: summary.name)


def studies_facts(rows: Sequence[StudySummary]) -> dict[str, Any]:
    """Return the list of studies as JSON values."""
    return {"version": STUDIES_VERSION, "studies": [asdict(row) for row in rows]}


def studies_table(rows: Sequence[StudySummary], now: datetime) -> list[RenderableType]:
    """Return the list of studies for a terminal, with the age of their last change at the time `now`."""
    table = Table(box=None, pad_edge=False)
    table.add_column("study", overflow="fold")
    table.add_column("state", no_wrap=True)
    for name in ("best", "gain", "shown", "trials", "GPU-h", "changed"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(Text(printable(row.name)), row.state, *_cells(row, now))
    problems = [Text(printable(f"{row.name}: {row.problem}")) for row in rows if row.problem]
    return [table, *problems]


def _cells(row: StudySummary, now: datetime) -> list[str]:
    if row.problem:
        return [""] * 6
    return [
        "" if row.best is None else f"{row.best:.4f}",
        "" if row.gain is None else f"{row.gain:+.4f}",
        _shown(row),
        f"{row.ended}/{row.trials}",
        f"{row.gpu_hours:.1f}",
        "" if row.changed is None else _age((now - datetime.fromisoformat(row.changed)).total_seconds()),
    ]


def _shown(row: StudySummary) -> str:
    """Return whether the re-evaluation has shown the gain; before a verdict, it rests on one seed."""
    if row.gain is None:
        return ""
    if row.verdict is None:
        return "1 seed"
    return "yes" if row.verdict == Conclusion.BETTER.value else "no"


def _age(seconds: float) -> str:
    if seconds < 3600:
        return f"{max(seconds, 0) / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} d"


def _own_summary(home: Path, name: str) -> StudySummary:
    """Summarise a study that has a database in its folder."""
    with StudyDatabase(sqlite_url(StudyPaths(home.absolute() / name).database)) as database:
        try:
            if name not in database.names():
                return StudySummary(name=name, state="unreadable", problem="its database has no study of this name")
        except TunerError as error:
            return StudySummary(name=name, state="unreadable", problem=str(error))
        return _summary(home, database, name)


def _summary(home: Path, database: StudyDatabase, name: str) -> StudySummary:
    paths = StudyPaths(home.absolute() / name)
    try:
        recorded = StoredStudy(database, name, paths.root).snapshot()
        return summary_of(recorded, is_driven=recorded.driver is not None, journal=paths.journal)
    except TunerError as error:
        return StudySummary(name=name, state="unreadable", problem=str(error))
    except (KeyError, TypeError, ValueError) as error:  # one damaged record must not hide the other studies
        return StudySummary(name=name, state="unreadable", problem=f"its record is damaged ({type(error).__name__})")


def summary_of(study: ReadableStudy, *, is_driven: bool, journal: Path) -> StudySummary:
    """Summarise one study; `journal` tells when its driver last changed it."""
    trials = study.trials()
    ended = sum(trial.state.is_finished() for trial in trials)
    complete = any(trial.state == TrialState.COMPLETE for trial in trials)
    winner = choose_winner(study) if complete else None
    verdict = None if winner is None else winner.verdict
    known = reevaluated(study)
    seconds = [trial.facts.gpu_seconds for trial in trials] + [run.gpu_seconds for run in (known.runs if known else ())]
    return StudySummary(
        name=study.name,
        state=_state(study, is_driven=is_driven, is_unfinished=ended < len(trials)),
        metric=study.spec.metric,
        best=None if winner is None else winner.trial.value,
        gain=(None if winner is None else winner.gain) if verdict is None else verdict.gain,
        verdict=None if verdict is None else verdict.conclusion.value,
        ended=ended,
        trials=len(trials),
        gpu_hours=sum(seconds) / 3600,
        changed=_changed([t for trial in trials for t in (trial.began, trial.ended) if t is not None], journal),
    )


def _state(study: ReadableStudy, *, is_driven: bool, is_unfinished: bool) -> str:
    if is_driven:
        return "running"
    final_run = study.final_run
    is_cut_off = final_run is not None and final_run.state in (TrialState.RUNNING.name, TrialState.WAITING.name)
    if is_unfinished or is_cut_off:
        return "waiting"
    return "finished" if study.trials() else "empty"


def _changed(times: Sequence[datetime], journal: Path) -> str | None:
    """Return the last change; Optuna's times are in UTC."""
    known = [time.replace(tzinfo=UTC) for time in times]
    if journal.exists():
        known.append(datetime.fromtimestamp(journal.stat().st_mtime, UTC))
    return max(known).isoformat(timespec="seconds") if known else None
