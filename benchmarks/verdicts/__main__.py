"""Print each contestant's error and success rates, optimism, choice for the final run, and cost in runs."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.verdicts.contestants import BUDGET, CONTESTANTS
from benchmarks.verdicts.measuring import (
    CENTRAL_DRAWN,
    GOOD_DRAWN,
    GOOD_RECORDED,
    NULL_DRAWN,
    NULL_RECORDED,
    SCENARIOS,
    Observation,
    Rate,
    claims,
    coverage,
    false_claims,
    observe,
    optimism,
    share_promoted,
)
from benchmarks.verdicts.noises import NOISES
from benchmarks.verdicts.tables import installed, read_tables

_GAINS = (0.0, 0.5, 1.0, 2.0, 4.0, np.inf)
"""Limits of the classes of true gain, in standard deviations of the noise."""
_HEADERS = (
    "contestant",
    'false "better", drawn',
    "recorded",
    'right "better", good default',
    "recorded",
    "central default",
    "claimed - true",
    "promoted",
    "runs",
)
_BY_TABLE = (
    "ours, by table",
    'false "better", drawn',
    "recorded",
    "6 runs",
    'right "better", good default',
    "central default",
)
_NOISE_RUNS = (20, 12, 6)
"""Numbers of runs of our verdict, under noises that are not recorded."""
_NOISE_WORLDS = 5
"""Worlds of each noise, per repeat."""
_LEGEND = (
    "Rates in %, with 95 % intervals. Claimed minus true gain in standard deviations of the noise between seeds,\n"
    "where a good default is said to be beaten. Promoted: true gain over it, in % of the best one's. Runs: mean."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 2 if the tables are not installed."""
    options = _parser().parse_args(arguments)
    folder = options.tables or installed()
    if folder is None:
        sys.stderr.write("The tables are not installed here; benchmarks/verdicts/requirements.txt says how to.\n")
        return 2
    start = time.perf_counter()
    tables = [t for t in read_tables(folder) if options.only is None or t.name in options.only]
    observations = [o for table in tables for o in observe(table, options.repeats, options.seed)]
    parts = [_summary(observations), _LEGEND, _by_table(observations), _ours(observations)]
    if options.only is None:
        parts.append(_by_noise(options.repeats, options.seed))
    parts.append(f"{time.perf_counter() - start:.0f} s")
    sys.stdout.write("\n\n".join(parts) + "\n")
    if options.json is not None:
        values = {"budget": BUDGET, "repeats": options.repeats, "seed": options.seed, "rates": _rates(observations)}
        options.json.write_text(json.dumps(values, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__)
    parser.add_argument("--repeats", type=int, default=200, help="worlds of each scenario and table (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the worlds")
    parser.add_argument("--only", nargs="+", metavar="TABLE", help="these tables alone, as car or cifar10")
    parser.add_argument("--tables", type=Path, metavar="FOLDER", help="where they lie, if not in the package")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the values there as well, by table")
    return parser


def _summary(observations: Sequence[Observation]) -> str:
    rows = []
    for contestant in CONTESTANTS:
        by = {s: _of(observations, s, contestant) for s in SCENARIOS}
        rows.append(
            (
                contestant,
                _rate(claims(by[NULL_DRAWN], true=False)),
                _rate(claims(by[NULL_RECORDED], true=False)),
                _rate(claims(by[GOOD_DRAWN], true=True)),
                _rate(claims(by[GOOD_RECORDED], true=True)),
                _rate(claims(by[CENTRAL_DRAWN], true=True)),
                f"{optimism(by[GOOD_DRAWN]):+.2f}",
                f"{100 * share_promoted(by[GOOD_DRAWN]):.0f}",
                f"{np.mean([o.runs for o in by[GOOD_DRAWN]]):.1f}",
            )
        )
    return _table(_HEADERS, rows)


def _by_table(observations: Sequence[Observation]) -> str:
    """Format our verdict's error and success rates by table, the worst error first."""
    tables = list(dict.fromkeys(o.table for o in observations))
    asked = (
        (NULL_DRAWN, "ours", False),
        (NULL_RECORDED, "ours", False),
        (NULL_DRAWN, "ours, 6 runs", False),
        (GOOD_DRAWN, "ours", True),
        (CENTRAL_DRAWN, "ours", True),
    )
    rates: dict[str, list[Rate]] = {table: [] for table in tables}
    for scenario, contestant, true in asked:
        some = _of(observations, scenario, contestant)
        for table in tables:
            rates[table].append(claims([o for o in some if o.table == table], true=true))
    worst = sorted(tables, key=lambda table: (-rates[table][0].value, table))
    return _table(_BY_TABLE, [(table, *map(_rate, rates[table])) for table in worst])


def _by_noise(repeats: int, seed: int) -> str:
    """Format our verdict's error rates under noises that are not recorded, by number of runs."""
    worlds = repeats * _NOISE_WORLDS
    rows = [(n, *(_rate(false_claims(n, runs, worlds, seed)) for runs in _NOISE_RUNS)) for n in NOISES]
    return _table(('false "better", ours', *(f"{runs} runs" for runs in _NOISE_RUNS)), rows)


def _ours(observations: Sequence[Observation]) -> str:
    """Format how often our verdict is "better", by the true gain of the judged configuration."""
    drawn = [o for s in (GOOD_DRAWN, CENTRAL_DRAWN) for o in _of(observations, s, "ours") if o.compared is not None]
    rows = []
    for low, high in pairwise(_GAINS):
        here = [o for o in drawn if o.compared is not None and low < o.compared <= high]
        said = Rate(times=sum(o.better for o in here), of=len(here))
        rows.append((f"{low:g} to {high:g}", _rate(said), _rate(coverage(here)), _runs(here)))
    null = _of(observations, NULL_DRAWN, "ours")
    rows.append(("none", _rate(claims(null, true=False)), _rate(coverage(null)), _runs(null)))
    return _table(('true gain in SD of the noise, "ours"', '"better"', "interval holds it", "runs"), rows)


def _rates(observations: Sequence[Observation]) -> list[dict[str, object]]:
    """Return the rates by table, scenario and contestant."""
    rates: list[dict[str, object]] = []
    for table in dict.fromkeys(o.table for o in observations):
        here = [o for o in observations if o.table == table]
        for scenario in dict.fromkeys(o.scenario for o in here):
            for contestant in CONTESTANTS:
                some = _of(here, scenario, contestant)
                right, wrong = claims(some, true=True), claims(some, true=False)
                rates.append(
                    {
                        "table": table,
                        "scenario": scenario,
                        "contestant": contestant,
                        "worlds": len(some),
                        "right": right.times,
                        "right_interval": right.interval,
                        "wrong": wrong.times,
                        "wrong_interval": wrong.interval,
                        "claimed_minus_true": optimism(some) if right.times + wrong.times else None,
                        "true_gain": float(np.mean([o.true for o in some])),
                        "possible_gain": float(np.mean([o.possible for o in some])),
                        "runs": float(np.mean([o.runs for o in some])),
                    }
                )
    return rates


def _of(observations: Sequence[Observation], scenario: str, contestant: str) -> list[Observation]:
    return [o for o in observations if o.scenario == scenario and o.contestant == contestant]


def _rate(rate: Rate) -> str:
    if not rate.of:
        return "-"
    low, high = rate.interval
    return f"{100 * rate.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _runs(observations: Sequence[Observation]) -> str:
    return f"{np.mean([o.runs for o in observations]):.1f}" if observations else "-"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [headers, rule, *rows]
    aligned = [[r[0].ljust(widths[0]), *(c.rjust(n) for c, n in zip(r[1:], widths[1:], strict=True))] for r in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in aligned)


if __name__ == "__main__":
    sys.exit(main())
