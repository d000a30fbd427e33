"""Implement `tune simulate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli import completion
from tuner.exceptions import UsageError
from tuner.system.printable import printable

if TYPE_CHECKING:
    from rich.table import Table

    from tuner.decisions.strategies import Limits
    from tuner.simulation.tables import CurveTable


def simulate(
    curves: Annotated[
        Path, typer.Option(help="Table of learning curves: parquet of `tune export --curves`, or npz of losses.")
    ],
    strategy: Annotated[
        str,
        typer.Option(help="Strategy: auto, asha-promotion or asha-stopping.", autocompletion=completion.strategies),
    ] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Trials to run at once.")] = 4,
    budget: Annotated[float, typer.Option(help="Search budget: worker time in full runs of average cost.")] = 20.0,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Number of trials, as of `tune run`; default: only the budget ends it.")
    ] = None,
    validate_every_epoch: Annotated[
        bool, typer.Option("--validate-every-epoch", help="Know the metric after every epoch, not only at rungs.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for the proposals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the values as JSON.")] = False,
) -> None:
    """Replay a search on recorded learning curves, with real decisions, simulated time and no training.

    Regret belongs to the configuration that would win at that moment.
    It is the gap between its final result and the best in the table, as a share of the median's gap.

    Examples:

        tune simulate --curves detector.parquet --workers 1000 --trials 3000 --budget 1000

        tune simulate --curves taskset.npz --strategy asha-stopping --seed 3 --json
    """
    from rich.console import Console

    from tuner.simulation.measures import measures
    from tuner.simulation.replay import Pool, replay
    from tuner.simulation.simulated import SimulatedSearch
    from tuner.space import STRATEGIES

    if strategy not in STRATEGIES:
        raise UsageError(f"--strategy must be one of {', '.join(STRATEGIES)}, but got {strategy!r}; choose one.")
    if not 0 < budget < float("inf"):
        raise UsageError(f"--budget must be above 0 full runs, but got {budget:g}; 20 is usual.")
    table = _loaded(curves)
    search = SimulatedSearch(
        table,
        Pool(table),
        strategy,
        seed=seed,
        limits=_limits(table, trials),
        validate_every_epoch=validate_every_epoch,
    )
    values = measures(table, replay(table, search, workers=workers, budget=budget))
    if as_json:
        typer.echo(json.dumps(values))
    else:
        Console().print(_shown(table, strategy, workers, budget, values))


def _loaded(path: Path) -> "CurveTable":
    if path.suffix == ".npz":
        from tuner.simulation.tables import load_arrays

        return load_arrays(path)
    from tuner.curve_table.reader import read_curves  # pyarrow takes a while to import

    return read_curves(path)


def _limits(table: "CurveTable", trials: int | None) -> "Limits | None":
    from tuner.decisions.strategies import Limits

    if trials is None:
        return None
    if trials > table.num_configurations:
        raise UsageError(
            f"--trials must be at most {table.num_configurations}, the number of configurations in the table, "
            f"but got {trials}; choose a smaller number."
        )
    return Limits(trials=trials)


def _shown(table: "CurveTable", strategy: str, workers: int, budget: float, values: dict[str, Any]) -> "Table":
    from rich.table import Table

    shown = Table(
        title=printable(f"{strategy} on {table.name}: {workers} workers, {budget:g} full runs"),
        show_header=False,
        box=None,
        title_justify="left",
    )
    for percent, regret in values["regret"].items():
        shown.add_row(f"regret at {percent} % of the budget", f"{regret:.3f}")
    shown.add_row("trials", str(values["trials"]))
    shown.add_row("trained to the end", str(values["full_runs"]))
    shown.add_row("epochs of dead runs", f"{values['dead_epoch_share']:.1%}")
    shown.add_row("idle worker time", f"{values['idle_share']:.1%}")
    shown.add_row("decision time (median, p95)", "{p50:.1f} ms, {p95:.1f} ms".format(**values["decision_ms"]))
    return shown
