"""A search as a sequence of questions: what to train next, and what becomes of it. Two drivers ask them, Ray Tune's
adapters through `tuner.search.search`, and `tuner.simulation`."""

import json
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
    """The trial ends because it diverged."""


class Decider:
    """Keeps the history of a search up to date and asks the engine."""

    def __init__(self, engine: Engine, history: History, log: Callable[[str], None] = lambda line: None) -> None:
        """A search that has come so far.

        Args:
            log: given a line of JSON for each event; `tuner.decisions.log_check` tells from them whether the
                same would be decided again.
        """
        self._engine = engine
        self._log = log
        self._first_losses: dict[int, float] = {}
        self.history = history

    def resumed(self) -> int | None:
        """A paused trial that should go on before anything new begins."""
        return self._engine.strategy.resumed(self.history)

    def hopeless(self) -> Mapping[int, str]:
        """Paused trials that can never be called back, with the reason: what they keep can go."""
        return self._engine.strategy.hopeless(self.history)

    def proposed(self, allowed: Allowed = lambda point: True) -> Floats | None:
        """The point of a new configuration, or none when none that is allowed was found."""
        return self._engine.propose(self.history, allowed)

    def begin(self, point: Floats, *, is_proposed: bool = True) -> int:
        """A trial begins. Returns its number.

        Args:
            is_proposed: whether the point is the one that was `proposed`, and not chosen by somebody else.
        """
        number = self.history.begin(point)
        self._note(begin=number, point=point.tolist(), proposed=is_proposed)
        return number

    def resume(self, trial: int) -> None:
        """A trial goes on."""
        self.history.set_status(trial, Status.RUNNING)
        self._note(resume=trial)

    def note_first_loss(self, trial: int, loss: float) -> None:
        """The loss of a trial's first epoch, by which later ones are judged."""
        self._first_losses[trial] = loss

    def report(self, trial: int, epoch: int, metric: float | None, loss: float) -> RungDecision:
        """What becomes of a running trial after an epoch (1-based).

        Args:
            metric: none where it was not validated.
            loss: all training losses together.
        """
        if epoch == 1:
            self.note_first_loss(trial, loss)
        reason = divergence(metric, loss, self._first_losses.get(trial, loss))
        verdict = self._judged(trial, epoch, metric) if reason is None else Lost(reason=f"{reason} at epoch {epoch}")
        self._note(hear=trial, epoch=epoch, metric=metric, loss=loss, verdict=type(verdict).__name__)
        if isinstance(verdict, Lost):
            self.history.set_status(trial, Status.LOST)
        elif isinstance(verdict, Pause):
            self.history.set_status(trial, Status.PAUSED)
        elif isinstance(verdict, Stop):
            self.history.set_status(trial, Status.STOPPED)
        return verdict

    def _judged(self, trial: int, epoch: int, metric: float | None) -> RungDecision:
        if metric is None:
            return GoOn()
        self.history.report(trial, epoch, metric)
        if epoch == self.history.epochs:
            return GoOn()  # its end is told by whoever trains it
        return self._engine.strategy.verdict(self.history, trial, epoch)

    def end(self, trial: int, status: Status) -> None:
        """A trial is over."""
        self.history.set_status(trial, status)
        self._note(end=trial, status=status.name)

    def incumbent(self) -> int | None:
        """The trial whose configuration would be promoted now."""
        return self.history.incumbent()

    def _note(self, **facts: Any) -> None:
        self._log(json.dumps(facts, separators=(",", ":")))
