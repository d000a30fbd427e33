"""Present single trials of a study: sorted, and with everything that is recorded about one of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tuner.exceptions import UsageError
from tuner.report.live.snapshot import changed_parameters, parameters_text
from tuner.study import StudyPaths
from tuner.system.printable import printable

TRIAL_VERSION = 1
"""Version of the data that `trial_of` returns; a change of meaning raises it."""

_MOST_SHOWN = 5
"""Number of the best trials whose parameters are listed, unless the user sets it."""


def shown_metric(trial: Mapping[str, Any]) -> float | None:
    """Return the metric of a complete trial, or the last validated one of any other; None without one."""
    if trial["value"] is not None:
        return float(trial["value"])
    last = trial["curve"][max(trial["curve"], key=int)] if trial["curve"] else None
    return None if last is None else float(last)


def gain_of(trial: Mapping[str, Any], baseline: float | None) -> float | None:
    """Return the metric of a complete trial minus that of the default configuration; None if either is missing."""
    return None if trial["value"] is None or baseline is None else float(trial["value"] - baseline)


SORT_KEYS: Mapping[str, Callable[[Mapping[str, Any]], tuple[float, ...]]] = {
    "number": lambda trial: (trial["number"],),
    # Complete trials first: the last metric of any other is from an earlier epoch, which compares with nothing.
    "value": lambda trial: (trial["value"] is None, -_or_lowest(shown_metric(trial)), trial["number"]),
    "gain": lambda trial: (trial["value"] is None, -_or_lowest(trial["value"]), trial["number"]),
    "cost": lambda trial: (-trial.get("seconds", 0.0), trial["number"]),
    "epochs": lambda trial: (-trial.get("epochs", 0), trial["number"]),
}
"""Orders of trials by name: the largest first, except for numbers."""


def sorted_trials(trials: Sequence[dict[str, Any]], key: str, top: int | None) -> list[dict[str, Any]]:
    """Return the first `top` trials, or all, in an order of `SORT_KEYS`.

    Raises:
        UsageError: There is no such order.
    """
    if key not in SORT_KEYS:
        raise UsageError(f"--sort must be one of {', '.join(SORT_KEYS)}, but got '{key}'.")
    return sorted(trials, key=SORT_KEYS[key])[:top]


def best_parameters(facts: Mapping[str, Any], number: int = _MOST_SHOWN) -> list[RenderableType]:
    """Return a table with the parameters in which the best complete trials differ from the default configuration."""
    complete = [trial for trial in facts["trials"] if trial["value"] is not None]
    best = sorted(complete, key=SORT_KEYS["value"])[:number]
    if not best:
        return []
    default = _default(facts)
    table = Table(box=None, pad_edge=False)
    for name in ("best", facts["metric"], "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("differs from the default in")
    for trial in best:
        gain = gain_of(trial, facts["baseline"])
        changes = "nothing: the default configuration" if trial["number"] == 0 else _changes(trial, default)
        table.add_row(
            str(trial["number"]), f"{trial['value']:.4f}", "" if gain is None else f"{gain:+.4f}", Text(changes)
        )
    return [Text(), table]


def trial_of(facts: Mapping[str, Any], number: int, paths: StudyPaths) -> dict[str, Any]:
    """Return everything that is recorded about one trial as JSON values.

    Args:
        facts: State of the study, as `status_of` returns it.
        number: Number of the trial.
        paths: Paths of the study.

    Raises:
        UsageError: The study has no such trial.
    """
    found = next((trial for trial in facts["trials"] if trial["number"] == number), None)
    if found is None:
        last = len(facts["trials"]) - 1
        has = "it has none yet" if last < 0 else f"it has 0 to {last}"
        raise UsageError(f"There is no trial {number} in '{facts['study']}': {has}.")
    known = facts["reevaluation"] or {"runs": []}
    runs = [run for run in known["runs"] if run["trial"] == number]
    return {
        "version": TRIAL_VERSION,
        "study": facts["study"],
        "metric": facts["metric"],
        "gain": gain_of(found, facts["baseline"]),
        "changes": changed_parameters(found["params"], _default(facts)) if number else {},
        "seed_runs": [{**run, "directory": str(paths.reevaluated(number, run["seed"]))} for run in runs],
        "trial": found,
    }


def trial_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return everything about one trial as lines, from the data of `trial_of`."""
    trial, metric = facts["trial"], facts["metric"]
    lines = [f"trial {trial['number']} of {facts['study']}: {trial['state']}{_text(trial['reason'], ': {}')}"]
    if trial["value"] is not None:
        gain = "" if facts["gain"] is None else f", {facts['gain']:+.4f} over the default configuration on one seed"
        lines.append(f"result      {metric} {trial['value']:.4f}{gain}")
    lines += [f"origin      starting point {trial['origin']}"] if "origin" in trial else []
    lines += [f"time        {_time(trial['began'], 'not started')} to {_time(trial['ended'], 'now')} (UTC)"]
    if "epochs" in trial:
        lines.append(f"training    {trial['epochs']} epochs in {trial.get('seconds', 0.0) / 60:.1f} min")
    for name in ("device", "scan", "memory_gib", "batch"):
        lines += [f"{name:11} {trial[name]}"] if name in trial else []
    lines += _section("differs from the default configuration in", facts["changes"].items())
    lines += _section("all parameters", trial["params"].items())
    lines += _section(f"{metric} by epoch", ((epoch, _metric(value)) for epoch, value in trial["curve"].items()))
    lines += _attempts(trial)
    lines += _section(
        "runs on fresh seeds",
        ((f"seed {run['seed']}", run["reason"] or _metric(run["value"])) for run in facts["seed_runs"]),
    )
    lines += [f"folder      {trial['directory']}"] if "directory" in trial else []
    lines += [f"log         {trial['log']}{_is_missing(trial['log'])}"] if "log" in trial else []
    return [printable(line) for line in lines]


def _attempts(trial: Mapping[str, Any]) -> list[str]:
    failed = [
        (f"after epoch {attempt['epoch']}", f"{attempt['failure']}: {attempt['cause']}")
        for attempt in trial.get("failed_attempts", ())
    ]
    number = [f"attempts    {trial['attempts']}"] if "attempts" in trial else []
    return [*number, *_section("failed attempts", failed)]


def _section(title: str, rows: Any) -> list[str]:
    lines = [f"    {name} = {value}" for name, value in rows]
    return [title, *lines] if lines else []


def _metric(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4f}"


def _time(time: str | None, otherwise: str) -> str:
    """Return a time of the JSON facts for people, to the second."""
    return otherwise if time is None else time[:19].replace("T", " ")


def _text(value: str, form: str) -> str:
    return form.format(value) if value else ""


def _is_missing(path: str) -> str:
    return "" if Path(path).exists() else " (not on this machine)"


def _or_lowest(value: float | None) -> float:
    return float("-inf") if value is None else value


def _default(facts: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the parameters of the default configuration, which is trial 0."""
    return next((trial["params"] for trial in facts["trials"] if trial["number"] == 0), None)


def _changes(trial: Mapping[str, Any], default: Mapping[str, Any] | None) -> str:
    return printable(parameters_text(changed_parameters(trial["params"], default)))
