"""Syne Tune 0.16, which only has ASHA and a BOHB on top of ASHA; nothing is paused."""

from collections.abc import Callable
from functools import partial
from typing import Any

from syne_tune.optimizer.baselines import ASHA, BOHB  # type: ignore[import-not-found]

from benchmarks.decisions.peers.rows import Rows
from benchmarks.decisions.peers.syne_tune_schedulers import SyneTune, config_space, points_to_evaluate
from tuner.simulation.replay import Pool
from tuner.simulation.tables import CurveTable


def search(make_scheduler: Callable[..., Any], table: CurveTable, pool: Pool, seed: int, workers: int) -> SyneTune:
    """Make a search with a scheduler at its defaults."""
    rows = Rows(table, pool)
    scheduler = make_scheduler(
        config_space(rows),
        metric="metric",
        do_minimize=False,
        time_attr="epoch",
        max_t=table.epochs,
        random_seed=seed,
        points_to_evaluate=points_to_evaluate(rows),
    )
    tuner = SyneTune(rows, scheduler, lambda _: scheduler.suggest(), seed)
    scheduler.searcher.suggest = tuner.snapped(scheduler.searcher.suggest)
    return tuner


METHODS = {
    "syne-tune-0.16-asha": partial(search, ASHA),
    "syne-tune-0.16-bohb": partial(search, BOHB),
}
