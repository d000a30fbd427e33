"""Adapt the tuner's own strategies for replay."""

from collections.abc import Callable, Sequence

import numpy as np

from tuner.decisions.decider import Decider
from tuner.decisions.history import History, Status
from tuner.decisions.rungs import Rungs
from tuner.decisions.strategies import GoOn, Limits, Pause, make_engine
from tuner.simulation.replay import Decision, Job, Pool
from tuner.simulation.tables import CurveTable
from tuner.space import SearchSettings, default_rungs
from tuner.unit_cube import Cube, Floats


def default_rungs_of(table: CurveTable) -> Rungs:
    """Return the default rungs and reduction factor for a search of a table."""
    settings = SearchSettings(epochs=table.epochs)
    epochs = default_rungs(table.epochs, warm_up=table.warm_up_epochs)
    return Rungs(epochs=epochs, reduction_factor=settings.reduction_factor)


class SimulatedSearch:
    """Search over the rows of a table that drives the decisions as `tuner.search.search` does."""

    def __init__(
        self,
        table: CurveTable,
        pool: Pool,
        strategy: str,
        *,
        seed: int,
        rungs: Rungs | None = None,
        limits: Limits | None = None,
        first: Sequence[Floats] = (),
        cube: Cube | None = None,
        validate_every_epoch: bool = True,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Set up a search of a table.

        Args:
            table: Recorded learning curves.
            pool: Rows that no trial has taken yet.
            strategy: Name from `tuner.decisions.strategies.STRATEGIES`.
            seed: Random seed of the strategy.
            rungs: Rungs of the search; None for the default.
            limits: Limits of the search; None if only the budget ends it. In that case, paused trials resume once no
                row is left.
            first: Points to try after the default configuration, before the strategy proposes any.
            cube: Cube to propose points of; None for the table's.
            validate_every_epoch: False to know the metric at rungs and after the last epoch only, as in a search
                without --validate-every-epoch.
            log: Function that receives the decisions as lines of JSON (see `Decider`).
        """
        self._table = table
        self._pool = pool
        rows = table.num_configurations
        self._limits = limits or Limits(trials=rows, full_runs=rows)
        self._validate_every_epoch = validate_every_epoch
        self._first = [*([] if table.baseline is None else [table.points[table.baseline]]), *first]
        self._rows: list[int] = []
        engine = make_engine(
            strategy,
            cube or table.cube,
            rungs or default_rungs_of(table),
            seed=seed,
            limits=self._limits,
            has_baseline=table.baseline is not None,
        )
        self._decider = Decider(engine, History(epochs=table.epochs, dimensions=table.points.shape[1]), log)

    def ask(self) -> Job | None:
        resumed = self._decider.resumed()
        if resumed is not None:
            self._decider.resume(resumed)
            return Job(resumed, self._rows[resumed])
        if not self._has_room:
            return None
        number = len(self._rows)
        is_proposed = number >= len(self._first)
        point = self._decider.proposed() if is_proposed else self._first[number]
        if point is None:
            return None
        row = self._pool.nearest(point)
        self._pool.take(row)
        self._rows.append(row)
        return Job(self._decider.begin(self._table.points[row], is_proposed=is_proposed), row)

    def report(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
        is_last = epoch == self._table.epochs
        is_validated = self._validate_every_epoch or is_last or epoch in self._decider.rungs
        verdict = self._decider.report(trial, epoch, metric if is_validated else None, loss)
        if isinstance(verdict, GoOn):
            if not is_last:
                return Decision.CONTINUE
            self._decider.end(trial, Status.COMPLETE)
        self._end_hopeless()
        return Decision.PAUSE if isinstance(verdict, Pause) else Decision.STOP

    def incumbent(self) -> int | None:
        return self._decider.incumbent()

    @property
    def _has_room(self) -> bool:
        return not self._pool.empty and len(self._rows) != self._limits.trials

    def _end_hopeless(self) -> None:
        """End the paused trials that will never resume, as `tuner.search.queue` does."""
        for trial in self._decider.hopeless():
            self._decider.end(trial, Status.STOPPED)
        status = self._decider.history.status
        if self._has_room or np.any(status == Status.RUNNING) or self._decider.resumed() is not None:
            return
        for trial in np.flatnonzero(status == Status.PAUSED).tolist():
            self._decider.end(trial, Status.STOPPED)
