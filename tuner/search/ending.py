"""Decide when a search ends before its last trial."""

from collections import Counter
from collections.abc import Callable

from tuner.decisions.decider import Decider
from tuner.decisions.rungs import Rungs
from tuner.decisions.stopping import DEAD_AFTER, judged, only_zeros, since_best
from tuner.diagnosis import finding_lines
from tuner.exceptions import FailurePolicyError, TunerError
from tuner.search.budget import TimeBudget
from tuner.search.queue import TrialQueue
from tuner.search.results import complete, found_ceiling, is_zero, nothing_learnt
from tuner.study import StudyPaths, StudySession, best_trial
from tuner.trials.retry_policy import MAX_IDENTICAL, Failure, normalised_cause


class Ending:
    """Rules that end a search: spent budget, no better result possible, nothing learnt, or trials that keep failing."""

    def __init__(
        self,
        study: StudySession,
        decider: Decider,
        queue: TrialQueue,
        budget: TimeBudget,
        paths: StudyPaths,
        on_event: Callable[[str], None],
    ) -> None:
        self._study = study
        self._decider = decider
        self._queue = queue
        self._budget = budget
        self._paths = paths
        self._on_event = on_event
        self._rungs = Rungs(epochs=study.spec.rungs, reduction_factor=study.spec.reduction_factor)
        self._failures: Counter[str] = Counter()
        self._lost_in_a_row = 0
        self.reason: str | None = None
        self.problem: TunerError | None = None
        # A user who resumes a search that learns nothing has a reason to: allow it as many results again.
        self._judged_at_start = judged(decider.history) if self._why_dead() is not None else 0

    def stop(self, reason: str, problem: TunerError | None = None) -> None:
        """End the search; keep the first reason if it has been ended already."""
        if self.reason is None:
            self.reason, self.problem = reason, problem

    def ceiling(self) -> str | None:
        """Return why no better result is possible; None if one is."""
        return found_ceiling(self._study.trials(), self._study.spec.metric, enough=DEAD_AFTER)

    def check(self) -> None:
        """End the search if its results call for it. Call it whenever a trial has been judged."""
        reason = self._why_dead()
        if reason is not None and judged(self._decider.history) >= self._judged_at_start + DEAD_AFTER:
            best = best_trial(self._study.trials())
            assert best is not None, "a search counts as dead only after a full run"
            self._give_up(reason, best.number)
        self.check_ceiling()
        self.check_budget()

    def check_ceiling(self) -> None:
        """End the search if no better result is possible."""
        reason = self.ceiling()
        if reason is not None and not self._is_over:
            self._on_event(f"the search ends: {reason}; no better result is possible")
            self.stop(reason)

    def check_budget(self) -> None:
        """End the search if its budget is spent."""
        if self._is_over:
            return
        reason = self._budget.reached(self._since_best)
        if reason is not None:
            self._on_event(f"the search ends: {reason}; continue it with a larger number")
            self.stop(reason)

    def on_progress(self) -> None:
        """Note an epoch that no attempt had trained before."""
        self._lost_in_a_row = 0

    def on_failed_trial(self, number: int, failure: Failure, reason: str) -> None:
        """End the search if trials keep failing."""
        cause = normalised_cause(reason)
        self._failures[cause] += 1
        self._lost_in_a_row += failure in (Failure.INFRASTRUCTURE, Failure.HUNG)
        if self._failures[cause] >= MAX_IDENTICAL and not any(trial.curve for trial in self._study.trials()):
            self._give_up(f"the first {MAX_IDENTICAL} trials failed with the same error: {reason}", number)
        elif self._lost_in_a_row >= MAX_IDENTICAL:
            self._give_up(f"{MAX_IDENTICAL} trials in a row were lost without training an epoch: {reason}", number)

    @property
    def _is_over(self) -> bool:
        return self.reason is not None or self._queue.is_finished

    def _since_best(self) -> int:
        judged_now = judged(self._decider.history)
        trials = self._study.trials()
        return since_best(((t.value, t.facts.judged or judged_now) for t in trials if t.value is not None), judged_now)

    def _why_dead(self) -> str | None:
        """Return why nothing more can be learnt; None while something can."""
        trials = self._study.trials()
        best = best_trial(trials)
        if best is None or best.value is None:
            return None
        if is_zero(best.value):
            is_enough = only_zeros(self._decider.history, self._rungs)
        else:
            is_enough = len(complete(trials)) >= DEAD_AFTER
        return nothing_learnt(trials, self._study.spec.metric) if is_enough else None

    def _give_up(self, reason: str, shown_by: int) -> None:
        """End the search with an error that includes the findings from a trial's curves."""
        shown = "".join(f". Trial {shown_by} shows {line}" for line in finding_lines(self._paths.trial(shown_by)))
        logs = self._paths.root / "trials"
        self.stop(reason, FailurePolicyError(f"The search stopped: {reason}{shown}. Logs: {logs}"))
