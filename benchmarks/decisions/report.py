"""Tables of the results, and the significant differences between methods."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.decisions.contestants import CONTESTANTS
from benchmarks.decisions.results import Run, read
from benchmarks.decisions.statistics import Difference, bootstrap, budget_to_match, differences, mean_over, regret_at

SHOWN = (10, 25, 50, 100)
"""Percentages of the budget in the tables."""

Cells = list[str]


def main() -> None:
    options = _options()
    runs = [r for r in read(options.results) if (r.key.workers, r.key.budget) == (options.workers, options.budget)]
    methods = _in_order({run.key.method for run in runs})
    if options.against is not None and options.against not in methods:
        sys.exit(f"--against must be a method with results, but '{options.against}' is none of: {', '.join(methods)}.")
    layout = as_markdown if options.markdown else as_columns
    parts = [layout(*main_table(runs, methods))]
    if options.against is not None:
        parts.append(f"Regret less that of {options.against}; below 0 is better, * for sure (95 %, paired bootstrap).")
        parts.append(layout(*comparison(runs, methods, options.against)))
    sys.stdout.write("\n\n".join(parts) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--against", metavar="NAME", help="compare every other method with this one")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--markdown", action="store_true", help="tables for a document instead of the screen")
    return parser.parse_args()


def _in_order(methods: set[str]) -> list[str]:
    known = list(CONTESTANTS)
    return sorted(methods, key=lambda method: (known.index(method) if method in known else len(known), method))


def main_table(runs: Sequence[Run], methods: Sequence[str]) -> tuple[Cells, list[Cells]]:
    """Return headers and rows with each method's result, as means over tasks of means over seeds."""
    headers = ["method", "runs", *(f"{percent} %" for percent in SHOWN)]
    headers += ["trials", "full", "dead", "idle", "p95 ms", "CPU s"]
    return headers, [_row(method, [run for run in runs if run.key.method == method]) for method in methods]


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


def comparison(runs: Sequence[Run], methods: Sequence[str], reference: str) -> tuple[Cells, list[Cells]]:
    """Return headers and rows with each other method's differences to the reference, by percent of budget."""
    headers = ["method", "pairs", *(f"{percent} %" for percent in SHOWN), "matches it at"]
    others = [method for method in methods if method != reference]
    return headers, [row for method in others if (row := _compared(runs, method, reference)) is not None]


def _compared(runs: Sequence[Run], method: str, reference: str) -> Cells | None:
    """Return a row, or None if the two have no task and seed in common."""
    pairs = [differences(runs, method, reference, percent) for percent in SHOWN]
    if not pairs[0]:
        return None
    matched = budget_to_match(runs, method, reference)
    return [
        method,
        str(sum(map(len, pairs[0].values()))),
        *(_interval(bootstrap(at)) for at in pairs),
        "never" if matched is None else f"{matched} %",
    ]


def _interval(difference: Difference) -> str:
    sure = "*" if difference.low > 0 or difference.high < 0 else ""
    return f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]{sure}"


def as_columns(headers: Cells, rows: Sequence[Cells]) -> str:
    """Format a table for the screen: the first column left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    return "\n".join("  ".join(_aligned(cells, widths)).rstrip() for cells in (headers, *rows))


def as_markdown(headers: Cells, rows: Sequence[Cells]) -> str:
    """Format a table in Markdown."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(_aligned(cells, widths))} |" for cells in (headers, rule, *rows))


def _aligned(cells: Cells, widths: Sequence[int]) -> list[str]:
    return [cells[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(cells[1:], widths[1:], strict=True))]


if __name__ == "__main__":
    main()
