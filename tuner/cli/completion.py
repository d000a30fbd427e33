"""Complete values of arguments in a shell, from names and folders alone: no database is opened."""

import os
from collections.abc import Iterable
from pathlib import Path

from typer import Context

from tuner.contract import METRICS


def study_names(ctx: Context, incomplete: str) -> list[str]:
    """Complete the names of the studies that have a database in the home."""
    home = Path(ctx.params.get("home") or os.environ.get("TUNE_HOME") or "studies")
    return _starting(incomplete, (database.parent.name for database in home.glob("*/study.db")))


def spaces(incomplete: str) -> list[str]:
    """Complete the names of the shipped spaces, and YAML files in the current folder."""
    from tuner.space import SHIPPED_SPACES

    shipped = (file.stem for file in SHIPPED_SPACES.glob("*.yaml"))
    return _starting(incomplete, [*shipped, *(file.name for file in Path().glob("*.yaml"))])


def strategies(incomplete: str) -> list[str]:
    """Complete the names of the strategies."""
    from tuner.space import STRATEGIES

    return _starting(incomplete, STRATEGIES)


def samplers(incomplete: str) -> list[str]:
    """Complete the names of the samplers."""
    from tuner.space import SAMPLERS

    return _starting(incomplete, SAMPLERS)


def trackers(incomplete: str) -> list[str]:
    """Complete the names of the trackers."""
    from tuner.space import TRACKERS

    return _starting(incomplete, (*TRACKERS, "none"))


def metrics(incomplete: str) -> list[str]:
    """Complete the names of the metrics."""
    return _starting(incomplete, METRICS)


def trial_orders(incomplete: str) -> list[str]:
    """Complete the orders of trials."""
    return _starting(incomplete, ("number", "value", "gain", "cost", "epochs"))


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
