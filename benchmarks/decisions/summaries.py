"""Summaries of runs as cells of a table: results of a group, differences within it, and an overview of all groups."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.decisions.layout import Cells
from benchmarks.decisions.results import COSTS, DEFAULTS, Run
from benchmarks.decisions.statistics import Difference, bootstrap, budget_to_match, differences, mean_over, regret_at

SHOWN = (10, 25, 50, 100)
"""Percentages of the budget in the tables of a group."""
OVERVIEW = (25, 50, 100)
"""Percentages of the budget in the overview."""

Table = tuple[Cells, list[Cells]]
"""Headers and rows."""


class Group(NamedTuple):
    """Runs that may be averaged."""

    family: str
    default: str
    cost: str

    @property
    def title(self) -> str:
        return f"{self.family}, default {self.default}, regret over {self.cost}"


def grouped(runs: Iterable[Run]) -> dict[Group, list[Run]]:
    """Sort runs into groups: by family, then by default and cost."""
    groups: dict[Group, list[Run]] = defaultdict(list)
    for run in runs:
        groups[Group(run.key.family, run.key.setting.default, run.key.setting.cost)].append(run)
    order = sorted(groups, key=lambda group: (group.family, DEFAULTS.index(group.default), COSTS.index(group.cost)))
    return {group: groups[group] for group in order}


def main_table(runs: Sequence[Run], methods: Sequence[str]) -> Table:
    """Return each method's result, as means over tasks of means over seeds."""
    headers = ["method", "runs", *(f"{percent} %" for percent in SHOWN)]
    headers += ["trials", "full", "dead", "idle", "p95 ms", "CPU s"]
    by_method = {method: [run for run in runs if run.key.method == method] for method in methods}
    return headers, [_row(method, of_method) for method, of_method in by_method.items() if of_method]


def _row(method: str, runs: Sequence[Run]) -> Cells:
    def mean(value: Callable[[Run], float]) -> float:
        return mean_over(runs, value)

    return [
        method,
        str(len(runs)),
        *(f"{mean(regret_at(percent)):.3f}" for percent in SHOWN),
        f"{mean(lambda run: run.trials):.0f}",
        f"{mean(lambda run: run.full_runs):.1f}",
        f"{mean(lambda run: run.dead_epoch_share):.1%}",
        f"{mean(lambda run: run.idle_share):.1%}",
        f"{mean(lambda run: run.decision_p95_ms):.1f}",
        f"{mean(lambda run: run.cpu_s):.2f}",
    ]


def comparison(runs: Sequence[Run], methods: Sequence[str], reference: str) -> Table:
    """Return each other method's differences to the reference with their intervals, by percent of budget."""
    headers = ["method", "pairs", *(f"{percent} %" for percent in SHOWN), "matches it at"]
    rows = []
    for method in methods:
        found = _differences(runs, method, reference, SHOWN)
        if found:
            pairs = sum(map(len, differences(runs, method, reference, SHOWN[0]).values()))
            matched = _matched(runs, method, reference)
            rows.append([method, str(pairs), *(_interval(difference) for difference in found), matched])
    return headers, rows


def overview(groups: Mapping[Group, Sequence[Run]], methods: Sequence[str], reference: str) -> Table:
    """Return each other method's mean differences to the reference in every group, and where it matches it.

    A family with runs of both costs has columns for each. A method without runs in a group has "-" there.
    """
    families = [group.family for group in groups]
    headers = ["method"]
    for group in groups:
        name = group.family if families.count(group.family) == 1 else f"{group.family} {group.cost}"
        headers += [*(f"{name} {percent} %" for percent in OVERVIEW), f"{name} at"]
    rows = []
    for method in methods:
        cells = []
        for runs in groups.values():
            found = _differences(runs, method, reference, OVERVIEW)
            known = [f"{one.mean:+.3f}{_star(one)}" for one in found]
            cells += [*known, _matched(runs, method, reference)] if found else ["-"] * (len(OVERVIEW) + 1)
        if set(cells) != {"-"}:
            rows.append([method, *cells])
    return headers, rows


def _differences(runs: Sequence[Run], method: str, reference: str, percents: Sequence[int]) -> list[Difference]:
    """Return the differences at these percents; none if the method is the reference or shares no task and seed."""
    pairs = [differences(runs, method, reference, percent) for percent in percents]
    return [bootstrap(at) for at in pairs] if method != reference and pairs[0] else []


def _matched(runs: Sequence[Run], method: str, reference: str) -> str:
    matched = budget_to_match(runs, method, reference)
    return "never" if matched is None else f"{matched} %"


def _interval(difference: Difference) -> str:
    return f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]{_star(difference)}"


def _star(difference: Difference) -> str:
    return "*" if difference.low > 0 or difference.high < 0 else ""
