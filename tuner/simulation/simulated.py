"""Adapt the tuner's own strategies for replay."""

from collections.abc import Sequence

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
        """
        self._table = table
        self._pool = pool
        rows = table.num_configurations
        self._limits = limits or Limits(trials=rows, full_runs=rows)
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
        self._decider = Decider(engine, History(epochs=table.epochs, dimensions=table.points.shape[1]))

    def ask(self) -> Job | None:
        resumed = self._decider.resumed()
        if resumed is not None:
            self._decider.resume(resumed)
            return Job(resumed, self._rows[resumed])
        if self._pool.empty or len(self._rows) == self._limits.trials:
            return None
        number = len(self._rows)
        point = self._first[number] if number < len(self._first) else self._decider.proposed()
        if point is None:
            return None
        row = self._pool.nearest(point)
        self._pool.take(row)
        self._rows.append(row)
        return Job(self._decider.begin(self._table.points[row]), row)

    def report(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
        verdict = self._decider.report(trial, epoch, metric, loss)
        if isinstance(verdict, GoOn):
            if epoch == self._table.epochs:
                self._decider.end(trial, Status.COMPLETE)
            return Decision.CONTINUE
        return Decision.PAUSE if isinstance(verdict, Pause) else Decision.STOP

    def incumbent(self) -> int | None:
        return self._decider.incumbent()
