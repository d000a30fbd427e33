"""Put the values of a comparison into words and cells, for a terminal and for a page."""

from collections.abc import Sequence

from tuner.comparison.contest import Conclusion
from tuner.contract import ParamValue
from tuner.report.compare.comparison import Comparison
from tuner.report.compare.study import ComparedStudy, Cost, FinalRunResult

MISSING = "-"
VERDICT_HEADER = ("trials", "default", "trial", "winner", "gain", "95 % interval", "seeds", "shown")
VERDICT_NOTE = (
    "Default and winner: value in the search, on one seed. Gain: over the study's own default configuration, on the "
    "fresh seeds of its re-evaluation."
)
_COST_HEADER = ("unit", "until best", "search", "re-evaluation", "total")
FINAL_RUN_HEADER = ("trial", "epochs", "state")


def value_cell(value: ParamValue | None) -> str:
    """Return a setting or parameter as in YAML."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def verdict_cells(study: ComparedStudy) -> tuple[str, ...]:
    """Return the cells of `VERDICT_HEADER`; values of the search are on one seed."""
    result = study.result
    interval = "" if result.interval is None else "[{:+.4f}, {:+.4f}]".format(*result.interval)
    return (
        f"{study.ended}/{study.trials}",
        _metric(result.default),
        MISSING if result.winner is None else str(result.winner),
        _metric(result.best),
        MISSING if result.gain is None else f"{result.gain:+.4f}",
        interval or MISSING,
        str(result.seeds or MISSING),
        _shown(study),
    )


def cost_header(comparison: Comparison) -> tuple[str, ...]:
    """Return the names of the columns of `cost_rows`."""
    return _COST_HEADER if comparison.equal_cost is None else (*_COST_HEADER, "best at equal cost")


def cost_note(comparison: Comparison) -> str:
    """Explain the columns of `cost_rows`."""
    until = "Until best: training time of the search when it reached its best value."
    equal = comparison.equal_cost
    if equal is None:
        return until
    return f"{until} Equal cost: {_hours(equal.hours)} {equal.unit}, the training time of the cheapest search."


def cost_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return the cells of each study, in hours."""
    rows = [_cost_cells(study.cost) for study in comparison.studies]
    if comparison.equal_cost is None:
        return rows
    return [(*row, _metric(best)) for row, best in zip(rows, comparison.equal_cost.best, strict=True)]


def final_run_metrics(studies: Sequence[ComparedStudy]) -> list[str]:
    """Return the names of the metrics that any final run has."""
    runs = [study.final_run for study in studies if study.final_run is not None]
    return list(dict.fromkeys(name for run in runs for name in run.metrics))


def final_run_cells(run: FinalRunResult | None, metrics: Sequence[str]) -> tuple[str, ...]:
    """Return the cells of `FINAL_RUN_HEADER` and the values of the metrics."""
    if run is None:
        return (MISSING, MISSING, "none", *(MISSING for _ in metrics))
    return (str(run.trial), str(run.epochs), run.state.lower(), *(_metric(run.metrics.get(name)) for name in metrics))


def metric_names(comparison: Comparison) -> str:
    """Return the metrics of the studies."""
    return ", ".join(dict.fromkeys(study.metric for study in comparison.studies))


def statements(comparison: Comparison) -> list[tuple[str, str]]:
    """Return label and statement of each study whose gain is not shown: the cells do not tell why."""
    better = Conclusion.BETTER.value
    return [(s.label, s.result.statement) for s in comparison.studies if s.result.conclusion != better]


def winners_note(comparison: Comparison) -> str:
    """Say how many parameters of the winners differ."""
    if not comparison.params:
        return "No study has a winner yet."
    differ = sum(row.differs for row in comparison.params)
    return f"{differ} of {len(comparison.params)} parameters differ."


def _cost_cells(cost: Cost) -> tuple[str, ...]:
    until = MISSING if cost.until_best is None else _hours(cost.until_best)
    return (cost.unit, until, *map(_hours, (cost.search, cost.reevaluation, cost.search + cost.reevaluation)))


def _hours(hours: float) -> str:
    return f"{hours:.2f}" if hours >= 1 else f"{hours:.3f}"


def _metric(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4f}"


def _shown(study: ComparedStudy) -> str:
    """Return whether the re-evaluation has shown the gain."""
    conclusion = study.result.conclusion
    if conclusion is None:
        return MISSING
    return "yes" if conclusion == Conclusion.BETTER.value else "no"
