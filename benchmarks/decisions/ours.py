"""Our own strategies, exactly as `tune simulate` runs them."""

from functools import partial

from tuner.simulation.replay import Pool
from tuner.simulation.simulated import SimulatedSearch
from tuner.simulation.tables import CurveTable


def _search(table: CurveTable, pool: Pool, seed: int, workers: int, *, strategy: str) -> SimulatedSearch:
    return SimulatedSearch(table, pool, strategy, seed=seed)


METHODS = {strategy: partial(_search, strategy=strategy) for strategy in ("auto", "asha-promotion", "asha-stopping")}
