"""Answer the questions of a search: what to train next, and whether a trial continues.

Two drivers ask them: Ray Tune's adapters through `tuner.search.search`, and `tuner.simulation`.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.decisions.history import History, Status
from tuner.decisions.proposers import Allowed
from tuner.decisions.strategies import Engine, GoOn, Pause, RungDecision, Stop
from tuner.divergence import divergence
from tuner.unit_cube import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost(Stop):
    """RungDecision: the trial ends because it diverged."""


class Decider:
    """History of a search, with the engine that decides by it."""

    def __init__(self, engine: Engine, history: History, log: Callable[[str], None] = lambda line: None) -> None:
        """Continue a search from its history.

        Args:
            engine: Engine that decides.
            history: Trials so far.
            log: Function that receives a line of JSON for each event. From these lines, `tuner.decisions.log_check`
                checks whether the decisions are reproducible.
        """
        self._engine = engine
        self._log = log
        self.history = history

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs whose metric the decisions need, ascending, besides the last one."""
        return self._engine.strategy.rungs.epochs

    def resumed(self) -> int | None:
        """Return a paused trial that should resume before a new one starts; None if there is none."""
        return self._engine.strategy.resumed(self.history)

    def hopeless(self) -> Mapping[int, str]:
        """Return the paused trials that can never resume, with the reason; their checkpoints can be deleted."""
        return self._engine.strategy.hopeless(self.history)

    def proposed(self, allowed: Allowed = lambda point: True) -> Floats | None:
        """Return the point of a new configuration; None if no allowed one was found."""
        return self._engine.propose(self.history, allowed)

    def begin(self, point: Floats, *, is_proposed: bool = True) -> int:
        """Start a trial and return its number.

        Args:
            point: Point of its configuration.
            is_proposed: True if the point comes from `proposed`, False if it comes from elsewhere.
        """
        number = self.history.begin(point)
        self._note(begin=number, point=point.tolist(), proposed=is_proposed)
        return number

    def resume(self, trial: int) -> None:
        """Resume a trial."""
        self.history.set_status(trial, Status.RUNNING)
        self._note(resume=trial)

    def note_first_loss(self, trial: int, loss: float) -> None:
        """Note the loss of a trial's first epoch, the reference for later ones."""
        self.history.note_loss(trial, 1, loss)

    def report(self, trial: int, epoch: int, metric: float | None, loss: float) -> RungDecision:
        """Return the verdict on a running trial after an epoch.

        Args:
            trial: Number of the trial.
            epoch: Epoch, 1-based.
            metric: Metric after the epoch; None if it was not validated.
            loss: Sum of the training losses of the epoch.
        """
        if epoch == 1:
            self.note_first_loss(trial, loss)
        first_loss = float(self.history.losses[trial, 0])
        reason = divergence(
            metric,
            loss,
            loss if math.isnan(first_loss) else first_loss,
            has_detected=self.history.has_detected(trial),
        )
        verdict: RungDecision = Lost(reason=f"{reason} at epoch {epoch}")
        if reason is None:
            verdict = self._judged(trial, epoch, metric, loss)
        self._note(hear=trial, epoch=epoch, metric=metric, loss=loss, verdict=type(verdict).__name__)
        if isinstance(verdict, Lost):
            self.history.set_status(trial, Status.LOST)
        elif isinstance(verdict, Pause):
            self.history.set_status(trial, Status.PAUSED)
        elif isinstance(verdict, Stop):
            self.history.set_status(trial, Status.STOPPED)
        return verdict

    def _judged(self, trial: int, epoch: int, metric: float | None, loss: float) -> RungDecision:
        if metric is None:
            return GoOn()
        self.history.note_loss(trial, epoch, loss)
        self.history.report(trial, epoch, metric)
        if epoch == self.history.epochs:
            return GoOn()  # the driver reports its end
        return self._engine.strategy.verdict(self.history, trial, epoch)

    def end(self, trial: int, status: Status) -> None:
        """Set the final status of a trial."""
        self.history.set_status(trial, status)
        self._note(end=trial, status=status.name)

    def incumbent(self) -> int | None:
        """Return the trial that would be chosen for the final run now; None if there is none yet."""
        return self.history.incumbent()

    def _note(self, **facts: Any) -> None:
        self._log(json.dumps(facts, separators=(",", ":")))
