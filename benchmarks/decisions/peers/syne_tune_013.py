"""Syne Tune 0.13: the last release with MOBSTER, Hyper-Tune, DyHPO and promotion."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from syne_tune.optimizer.baselines import ASHA, MOBSTER, DyHPO, HyperTune  # type: ignore[import-not-found]

from benchmarks.decisions.peers.rows import Rows
from benchmarks.decisions.peers.syne_tune_schedulers import SyneTune, config_space, points_to_evaluate
from tuner.simulation.replay import Pool
from tuner.simulation.tables import CurveTable

_LESS_FITTING = {"opt_skip_init_length": 50, "opt_skip_period": 5}
"""Fit the parameters of the Gaussian process at every fifth proposal, once there are 50 results. Syne Tune's
documentation suggests this for speed. By default it fits at each one, and a search takes more than five minutes."""


def search(
    make_scheduler: Callable[..., Any],
    table: CurveTable,
    pool: Pool,
    seed: int,
    workers: int,
    *,
    options: Mapping[str, int] = MappingProxyType({}),
) -> SyneTune:
    """Make a search with a scheduler at its defaults, and set the number of epochs as documented.

    Args:
        make_scheduler: Class of the scheduler.
        table: Table to search.
        pool: Rows that are still free.
        seed: Seed of the search.
        workers: Number of workers, which the scheduler need not know.
        options: Options of its searcher that differ from its defaults.
    """
    rows = Rows(table, pool)
    scheduler = make_scheduler(
        {**config_space(rows), "epochs": table.epochs},
        metric="metric",
        mode="max",
        resource_attr="epoch",
        max_resource_attr="epochs",
        random_seed=seed,
        points_to_evaluate=points_to_evaluate(rows),
        search_options={"debug_log": False, **options},
    )
    tuner = SyneTune(rows, scheduler, lambda trial: scheduler.suggest(trial_id=trial), seed)
    scheduler.searcher.get_config = tuner.snapped(scheduler.searcher.get_config)
    return tuner


METHODS = {
    "syne-tune-0.13-asha": partial(search, ASHA),
    "syne-tune-0.13-asha-promotion": partial(search, partial(ASHA, type="promotion")),
    "syne-tune-0.13-mobster": partial(search, MOBSTER, options=_LESS_FITTING),
    "syne-tune-0.13-hyper-tune": partial(search, HyperTune, options=_LESS_FITTING),
    "syne-tune-0.13-dyhpo": partial(search, DyHPO, options=_LESS_FITTING),
}
