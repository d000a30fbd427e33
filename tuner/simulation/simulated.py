"""Our own strategies as something to replay."""

from tuner.decisions.decider import Decider
from tuner.decisions.history import History, Status
from tuner.decisions.rungs import Rungs, rungs_for
from tuner.decisions.strategies import GoOn, Limits, Pause, make_engine
from tuner.simulation.replay import Decision, Job, Pool
from tuner.simulation.tables import CurveTable


class SimulatedSearch:
    """Drives the decisions of a search as `tuner.search` does, but over the rows of a table."""

    def __init__(
        self,
        table: CurveTable,
        pool: Pool,
        strategy: str,
        *,
        seed: int,
        rungs: Rungs | None = None,
        limits: Limits | None = None,
    ) -> None:
        """A search of a table.

        Args:
            strategy: one of `tuner.decisions.strategies.STRATEGIES`.
            rungs: none for those that fit the length of the curves.
            limits: none where only the budget, or the end of the table, ends the search.
        """
        self._table = table
        self._pool = pool
        self._limits = limits or Limits(trials=table.num_configurations)
        self._rows: list[int] = []
        engine = make_engine(
            strategy,
            table.cube,
            rungs or rungs_for(table.epochs),
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
        row = self._first_row() if not self._rows else None
        if row is None:
            proposed = self._decider.proposed()
            if proposed is None:
                return None
            row = self._pool.nearest(proposed)
        self._pool.take(row)
        self._rows.append(row)
        return Job(self._decider.begin(self._table.points[row]), row)

    def hear(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
        verdict = self._decider.hear(trial, epoch, metric, loss)
        if isinstance(verdict, GoOn):
            if epoch == self._table.epochs:
                self._decider.end(trial, Status.COMPLETE)
            return Decision.CONTINUE
        return Decision.PAUSE if isinstance(verdict, Pause) else Decision.STOP

    def incumbent(self) -> int | None:
        return self._decider.incumbent()

    def _first_row(self) -> int | None:
        """The default configuration is tried first, where the table has it."""
        return self._table.baseline
