"""Tables of the results per family, default and cost, and an overview of the differences in all families."""

import argparse
import sys
from pathlib import Path

from benchmarks.decisions.contestants import CONTESTANTS
from benchmarks.decisions.layout import as_columns, as_markdown
from benchmarks.decisions.results import DEFAULTS, read
from benchmarks.decisions.summaries import comparison, grouped, main_table, overview

_STAR = "below 0 is better, * for sure (95 %, paired bootstrap)"


def main() -> None:
    options = _options()
    runs = [
        run
        for run in read(*options.results)
        if (run.key.setting.workers, run.key.setting.budget) == (options.workers, options.budget)
        and (options.families is None or run.key.family in options.families)
    ]
    methods = _in_order({run.key.method for run in runs})
    reference = options.against
    if reference is not None and reference not in methods:
        sys.exit(f"--against must be a method with results, but '{reference}' is none of: {', '.join(methods)}.")
    layout = as_markdown if options.markdown else as_columns
    groups = grouped(runs)
    parts = []
    for group, within in groups.items():
        parts += [f"## {group.title}", layout(*main_table(within, methods))]
        if reference is not None:
            parts += [f"Regret less that of {reference}; {_STAR}.", layout(*comparison(within, methods, reference))]
    for default in DEFAULTS if reference is not None else ():
        of_default = {group: within for group, within in groups.items() if group.default == default}
        if of_default:
            parts.append(f"## All families, default {default}: regret less that of {reference}")
            parts.append(f"{_STAR[0].upper()}{_STAR[1:]}. `at`: share of the budget that reaches its final regret.")
            parts.append(layout(*overview(of_default, methods, reference)))
    sys.stdout.write("\n\n".join(parts) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--families", nargs="+", metavar="NAME", help="only these families of tasks")
    parser.add_argument("--against", metavar="NAME", help="compare every other method with this one")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--markdown", action="store_true", help="tables for a document instead of the screen")
    return parser.parse_args()


def _in_order(methods: set[str]) -> list[str]:
    known = list(CONTESTANTS)
    return sorted(methods, key=lambda method: (known.index(method) if method in known else len(known), method))


if __name__ == "__main__":
    main()
