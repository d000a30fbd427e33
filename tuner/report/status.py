"""Present the state of a study as plain data, and as a table."""

import math
from collections import Counter
from dataclasses import asdict, fields
from typing import Any

from optuna.trial import TrialState
from rich.console import RenderableType
from rich.text import Text

from tuner.report.long_table import LongTable
from tuner.space import start_point_of
from tuner.study import ReadableStudy, TrialFacts, TrialRecord, best_trial, jsonable
from tuner.system.printable import printable
from tuner.training.final_run import standing

STATUS_VERSION = 1
"""Version of the data that `status_of` returns; a change of meaning raises it."""

_FACTS = tuple(field.name for field in fields(TrialFacts))
"""Names of the facts about a trial."""


def status_of(study: ReadableStudy, driver: str | None = None) -> dict[str, Any]:
    """Return the state of a study and its current driver as JSON values.

    Times are ISO 8601 without a time zone, as Optuna stores them; metrics are 0..1.
    """
    spec, trials, final_run = study.spec, study.trials(), study.final_run
    best, numbers = best_trial(trials), Counter(trial.state for trial in trials)
    baseline = next((t.value for t in trials if t.is_baseline), None)
    return {
        "version": STATUS_VERSION,
        "study": study.name,
        "driver": driver,
        "space": spec.space_name,
        "model": spec.model,
        "data": spec.data,
        "data_sha256": spec.data_sha256,
        "metric": spec.metric,
        "epochs": spec.epochs,
        "rungs": list(spec.rungs),
        "counts": {state.name: numbers[state] for state in TrialState},
        "baseline": baseline,
        "best": None if best is None else {"trial": best.number, "value": best.value, "params": dict(best.params)},
        "standing": standing(study),
        "reevaluation": study.reevaluation or None,
        "final_run": None if final_run is None else final_run.encode(),
        "trials": [_facts(trial) for trial in trials],
    }


def status_table(facts: dict[str, Any]) -> list[RenderableType]:
    """Return the state of a study for a terminal."""
    metric = facts["metric"]
    header = ("trial", "state", metric, "epochs", "minutes", "why")
    rows = [_row(trial) for trial in facts["trials"]]
    table = LongTable(header, rows, right=frozenset({"trial", metric, "epochs", "minutes"}))
    counts = ", ".join(f"{number} {state}" for state, number in facts["counts"].items() if number)
    return [
        Text(printable(f"{facts['study']}: {facts['model']} on {facts['data']}")),
        table,
        Text(printable(f"{counts or 'no trials yet'}; {facts['standing']}")),
        *_reevaluation(facts["reevaluation"]),
        *_who(facts),
    ]


def _row(trial: dict[str, Any]) -> tuple[str, ...]:
    value = trial["value"] if trial["value"] is not None else _last(trial["curve"])
    return (
        str(trial["number"]),
        trial["state"],
        "" if value is None else f"{value:.4f}",
        str(trial.get("epochs", "")),
        f"{trial['seconds'] / 60:.1f}" if "seconds" in trial else "",
        printable(_why(trial)),
    )


def _reevaluation(facts: dict[str, Any] | None) -> list[Text]:
    if facts is None:
        return []
    if facts["verdict"] is not None:  # the line on the search already contains the verdict
        return []
    return [
        Text(f"re-evaluation against the default configuration: {len(facts['runs'])} runs on fresh seeds have ended")
    ]


def _why(trial: dict[str, Any]) -> str:
    if trial["reason"]:
        return str(trial["reason"])
    failed = trial.get("failed_attempts")
    if failed:
        return f"retried after epoch {failed[-1]['epoch']}: {failed[-1]['cause']}"
    if trial["state"] == TrialState.WAITING.name and trial.get("paused_at"):
        return f"paused after epoch {trial['paused_at']}; resumes if it turns out to be ahead"
    if trial.get("origin"):
        return f"starting point {start_point_of(trial['origin'])}"
    return "the default configuration" if trial["number"] == 0 else ""


def _who(facts: dict[str, Any]) -> list[Text]:
    """Return the line on the driver, or on unfinished trials that nobody continues."""
    if facts["driver"]:
        return [Text(printable(f"driven by {facts['driver']}"))]
    unfinished = facts["counts"]["RUNNING"] + facts["counts"]["WAITING"]
    if not unfinished:
        return []
    return [Text(f"not running: run the same command again to continue {unfinished} unfinished trial(s)")]


def _facts(trial: TrialRecord) -> dict[str, Any]:
    return {
        **_recorded(trial.facts),
        "number": trial.number,
        "state": trial.state.name,
        "value": trial.value,
        "curve": {str(epoch): _finite(value) for epoch, value in sorted(trial.curve.items())},
        "reason": trial.reason,
        "sampled": dict(trial.sampled),
        "params": dict(trial.params),
        "began": trial.began.isoformat() if trial.began else None,
        "ended": trial.ended.isoformat() if trial.ended else None,
    }


def _finite(value: float) -> float | None:
    """Replace NaN and infinities, which JSON lacks, by None."""
    return value if math.isfinite(value) else None


def _last(curve: dict[str, float]) -> float | None:
    return curve[max(curve, key=int)] if curve else None


def _recorded(facts: TrialFacts) -> dict[str, Any]:
    """Return the facts that are known."""
    known: dict[str, Any] = {name: value for name in _FACTS if (value := getattr(facts, name)) is not None}
    if facts.failed_attempts is not None:
        known["failed_attempts"] = [asdict(attempt) for attempt in facts.failed_attempts]
    return {name: value if isinstance(value, str | int) else jsonable(value) for name, value in known.items()}
