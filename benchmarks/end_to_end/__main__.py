"""Compare `tune run` with ultralytics' tuners on real training, with the same wall time on the same machine.

    python -m benchmarks.end_to_end run RESULTS.jsonl --budget-s 390 --repetitions 3
    python -m benchmarks.end_to_end retrain RESULTS.jsonl
    python -m benchmarks.end_to_end report RESULTS.jsonl

Each continues if interrupted. Let nothing else run at the same time, except during `report`.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.end_to_end.report import report
from benchmarks.end_to_end.results import append, read
from benchmarks.end_to_end.retraining import planned, retrained
from benchmarks.end_to_end.running import search
from benchmarks.end_to_end.setup import Task
from benchmarks.end_to_end.tools import TOOLS


def main() -> None:
    """Search, retrain or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    commands = {name: actions.add_parser(name) for name in ("run", "retrain", "report")}
    for command in commands.values():
        command.add_argument("results", type=Path, metavar="RESULTS.jsonl")
    for name in ("run", "retrain"):
        commands[name].add_argument("--folder", type=Path, default=Path("build/end_to_end"), help="data sets and runs")
    default = Task()
    commands["run"].add_argument("--budget-s", type=float, default=default.budget_s, help="wall time of each search")
    commands["run"].add_argument("--epochs", type=int, default=default.epochs, help="epochs of a full run")
    commands["run"].add_argument("--batch", type=int, default=default.batch)
    commands["run"].add_argument("--repetitions", type=int, default=3)
    commands["run"].add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS)[:3], metavar="TOOL")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a search is not left running
    if options.action == "run":
        task = Task(budget_s=options.budget_s, epochs=options.epochs, batch=options.batch)
        _run(options.results, options.folder.absolute(), task, options.repetitions, options.tools)
    elif options.action == "retrain":
        _retrain(options.results, options.folder.absolute())
    else:
        _say(report(read(options.results)))


def _run(results: Path, folder: Path, task: Task, repetitions: int, tools: Sequence[str]) -> None:
    done = {(line.task, line.tool, line.repetition) for line in read(results).searches}
    for repetition in range(repetitions):
        first = repetition % len(tools)
        for tool in (*tools[first:], *tools[:first]):  # the order rotates
            if (task, tool, repetition) not in done:
                found = search(folder / f"{list(TOOLS).index(tool)}-{repetition}", task, tool, repetition)
                append(results, found)
                _say(f"{tool}, repetition {repetition}: {found.trials} trials, {found.wall_s:.0f} s, {found.hand_over}")


def _retrain(results: Path, folder: Path) -> None:
    known = read(results)
    done = {line.key for line in known.retrainings}
    left = [run for run in planned(known.searches) if run.key not in done]
    for number, run in enumerate(retrained(left, folder)):
        append(results, run)
        _say(f"{number + 1}/{len(left)} {run.tool}, repetition {run.repetition}, seed {run.seed}: {run.value:.4f}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
