"""Take snapshots of a run of this process, from its state in memory, and put them into lines for logs."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from optuna.trial import TrialState

from tuner.comparison.reevaluation import Reevaluation
from tuner.cost.actual import epoch_time_s
from tuner.cost.forecast import Forecast, Position
from tuner.report.live.render import duration
from tuner.report.live.snapshot import PhaseBar, RunRow, Snapshot, changed_parameters, parameters_text
from tuner.search.search import Search
from tuner.study import ReadableStudy, best_trial
from tuner.training.final_run import FinalRun, choose_winner, standing
from tuner.trials.live import LiveTrial, total_loss

SEARCH, REEVALUATION, FINAL_RUN = "search", "re-evaluation", "final run"


class SearchProgress:
    """Counts, best value and remaining time of a search."""

    def __init__(self, search: Search, forecast: Forecast, now_s: Callable[[], float] = time.monotonic) -> None:
        self._search = search
        self._forecast = forecast
        self._now_s = now_s
        self._began = now_s()
        self._trained_before = self.position().trained
        self._first_s = 0.0
        """Time in seconds at which no epoch of this driver had ended yet, as last seen."""

    @property
    def num_done(self) -> int:
        return sum(trial.state.is_finished() for trial in self._search.trials)

    @property
    def num_wanted(self) -> int:
        """Number of requested trials; larger if an earlier run requested more."""
        return max(self._search.target, len(self._search.trials))

    def position(self) -> Position:
        """Return the progress of each trial."""
        live = dict(self._search.live)
        begun: dict[str, list[int]] = {"training": [], "paused": [], "ended": []}
        for trial in (trial for trial in self._search.trials if trial.params):
            epoch = max(trial.facts.epochs or 0, live[trial.number].epoch if trial.number in live else 0)
            waits = "paused" if trial.is_paused else "training"
            begun["ended" if trial.state.is_finished() else waits].append(epoch)
        to_begin = self.num_wanted - sum(map(len, begun.values()))
        return Position(to_begin=to_begin, **{which: tuple(epochs) for which, epochs in begun.items()})

    @property
    def elapsed_s(self) -> float:
        return self._now_s() - self._began

    def counts(self) -> dict[str, int]:
        """Return the number of trials in each state."""
        states = [trial.state for trial in self._search.trials]
        named = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        waiting = states.count(TrialState.WAITING)
        counts = {"running": len(self._search.live), **{s.name.lower(): states.count(s) for s in named}}
        return {**counts, "waiting": waiting} if waiting else counts

    def pace_s(self) -> float | None:
        """Return the wall time of an epoch in seconds; None if it is not known yet."""
        before, trained = self._trained_before, self.position().trained
        if trained == before:
            self._first_s = self.elapsed_s
        return self._forecast.pace_s(before=before, trained=trained, elapsed_s=self.elapsed_s, first_s=self._first_s)

    def eta_s(self) -> float | None:
        """Return the seconds to the end of the search; None if the pace is not known yet."""
        pace = self.pace_s()
        if pace is None:
            return None
        left = self._forecast.search_epochs(self.position()) * pace
        bound = self._search.time_left_s()
        return left if bound is None else min(left, bound)

    def run_left_s(self) -> float | None:
        """Return the seconds to the end of the last phase; None if the pace is not known yet."""
        eta, pace = self.eta_s(), self.pace_s()
        if eta is None or pace is None:
            return None
        study, forecast = self._search.study, self._forecast
        return eta + comparison_s(study, forecast, pace) + final_run_s(study, forecast, pace)

    def line(self) -> str:
        """Return the progress on one line."""
        counts = ", ".join(f"{number} {name}" for name, number in self.counts().items())
        done = f"{self.num_done}/{self.num_wanted} trials ({counts})"
        return f"{done}; {standing(self._search.study)}; {duration(self.elapsed_s)}{self._left()}"

    def snapshot(self) -> Snapshot:
        """Return the progress of the search, and the phases that follow."""
        study = self._search.study
        bar = search_bar(self.position(), self._forecast, self.counts(), self.num_wanted)
        return Snapshot(
            phases=(bar, *later(self._forecast)),
            metric=study.spec.metric,
            runs=rows(study, self._search.live.values(), study.spec.epochs),
            best=best_so_far(study),
            elapsed_s=self.elapsed_s,
            left_s=self.run_left_s(),
        )

    def _left(self) -> str:
        eta, pace = self.eta_s(), self.pace_s()
        if eta is None or pace is None:
            return ""
        study, forecast = self._search.study, self._forecast
        then = _then(comparison_s(study, forecast, pace), final_run_s(study, forecast, pace))
        return f", about {duration(eta)} of search left{then}"


@dataclass(frozen=True, slots=True)
class ReevaluationProgress:
    """Runs, lead and remaining time of a re-evaluation."""

    reevaluation: Reevaluation
    forecast: Forecast

    def left_s(self) -> float | None:
        """Return the maximum seconds to the end of the re-evaluation; None if the pace is not known yet."""
        live, pace = dict(self.reevaluation.live), self.reevaluation.epoch_seconds()
        if not pace:
            return None
        return (self._total() - self._trained()) * pace / max(len(live), 1)

    def line(self, elapsed_s: float) -> str:
        """Return the progress on one line."""
        known = self.reevaluation.known
        counts = f"{len(known.runs)} of at most {known.plan.max_runs} runs ({len(self.reevaluation.live)} running)"
        lead = self._lead()
        left_s, pace = self.left_s(), self.reevaluation.epoch_seconds()
        left = ""
        if left_s is not None:
            then = _then(0.0, final_run_s(self.reevaluation.study, self.forecast, pace))
            left = f", at most {duration(left_s)} of re-evaluation left{then}"
        return f"re-evaluation: {counts}{lead and f'; {lead}'}; {duration(elapsed_s)}{left}"

    def snapshot(self, elapsed_s: float) -> Snapshot:
        """Return the progress of the re-evaluation, and the final run that follows."""
        known, study = self.reevaluation.known, self.reevaluation.study
        left_s, pace = self.left_s(), self.reevaluation.epoch_seconds()
        text = f"{len(known.runs)} of at most {known.plan.max_runs} runs"
        return Snapshot(
            phases=(
                PhaseBar(name=REEVALUATION, share=self._trained() / self._total(), text=text),
                *(phase for phase in later(self.forecast) if phase.name == FINAL_RUN),
            ),
            metric=study.spec.metric,
            runs=rows(study, self.reevaluation.live.values(), self.reevaluation.epochs),
            best=self._lead() or best_so_far(study),
            elapsed_s=elapsed_s,
            left_s=None if left_s is None else left_s + final_run_s(study, self.forecast, pace),
        )

    def _lead(self) -> str:
        so_far = self.reevaluation.verdict
        if so_far.leader is None or so_far.gain is None:
            return ""
        side = "ahead of" if so_far.gain >= 0 else "behind"
        gain = f"{abs(so_far.gain):.4f} {side} the default configuration"
        return f"trial {so_far.leader} is {gain} on {so_far.seeds} seeds"

    def _trained(self) -> int:
        """Return the trained epochs of all runs."""
        live = dict(self.reevaluation.live)
        return len(self.reevaluation.known.runs) * self.reevaluation.epochs + sum(run.epoch for run in live.values())

    def _total(self) -> int:
        return self.reevaluation.known.plan.max_runs * self.reevaluation.epochs


@dataclass(frozen=True, slots=True)
class FinalRunProgress:
    """Epochs, best value and remaining time of a final run."""

    final_run: FinalRun

    def left_s(self) -> float | None:
        """Return the seconds to the end of the run; None before the first epoch has ended."""
        latest, total = self.final_run.latest, self.final_run.request.epochs
        return None if latest is None else latest.seconds * (total - latest.epoch)

    def line(self, elapsed_s: float) -> str:
        """Return the progress on one line."""
        latest, total, left_s = self.final_run.latest, self.final_run.request.epochs, self.left_s()
        if latest is None or left_s is None:
            return f"final run: starting, {duration(elapsed_s)}"
        best = "" if self.final_run.best is None else f", best so far {self.final_run.best:.4f}"
        return f"final run: epoch {latest.epoch}/{total}{best}; {duration(elapsed_s)}, about {duration(left_s)} left"

    def snapshot(self, elapsed_s: float) -> Snapshot:
        """Return the progress of the final run."""
        run, request, latest = self.final_run, self.final_run.request, self.final_run.latest
        done = 0 if latest is None else latest.epoch
        metric = run.study.spec.metric
        row = RunRow(
            label=str(request.trial),
            epoch=done,
            epochs=request.epochs,
            within=run.within,
            metric=None if latest is None or latest.metrics is None else latest.metrics.get(metric),
            loss=None if latest is None else total_loss(latest),
            epoch_s=None if latest is None else latest.seconds,
            memory_gib=None if latest is None else latest.memory_gib,
            changes=changes_of(run.study, request.trial),
        )
        return Snapshot(
            phases=(PhaseBar(name=FINAL_RUN, share=done / request.epochs, text=f"{done} of {request.epochs} epochs"),),
            metric=metric,
            runs=(row,),
            best="" if run.best is None else f"{metric} {run.best:.4f} so far in this run",
            elapsed_s=elapsed_s,
            left_s=self.left_s(),
        )


def search_bar(position: Position, forecast: Forecast, counts: dict[str, int], wanted: int) -> PhaseBar:
    """Return the bar of a search: the share of the epochs that it will train, which its trials do not tell."""
    left = forecast.epochs_left(position)
    ended = len(position.ended)
    share = position.trained / (position.trained + left) if position.trained + left else 1.0
    named = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    return PhaseBar(name=SEARCH, share=share, text=f"{ended}/{wanted} trials{named and f': {named}'}")


def later(forecast: Forecast) -> Iterable[PhaseBar]:
    """Yield the phases after a search that the run will have."""
    most = round(forecast.estimate.comparison_runs.high)
    if most:
        yield PhaseBar(name=REEVALUATION, share=0.0, text=f"at most {most} runs")
    if forecast.promote_epochs:
        yield PhaseBar(name=FINAL_RUN, share=0.0, text=f"{forecast.promote_epochs} epochs")


def best_so_far(study: ReadableStudy) -> str:
    """Describe the best complete trial in a few words; empty if there is none."""
    if best_trial(study.trials()) is None:
        return ""
    winner = choose_winner(study)
    trial = winner.trial
    if winner.verdict is not None:
        return winner.verdict.statement
    named = f"trial {trial.number}: {trial.value:.4f}"
    if trial.is_baseline:
        return f"{named}, the default configuration"
    if winner.gain is None or winner.baseline is None:
        return named
    return f"{named}, {winner.gain:+.4f} over the default ({winner.baseline.value:.4f}) on one seed"


def rows(study: ReadableStudy, live: Iterable[LiveTrial], epochs: int) -> tuple[RunRow, ...]:
    """Return a row for each live run, ordered by trial."""
    return tuple(
        RunRow(
            label=run.label,
            epoch=run.epoch,
            epochs=epochs,
            slot=run.slot,
            within=run.within,
            metric=run.value,
            loss=None if run.latest is None else total_loss(run.latest),
            epoch_s=run.seconds / run.epoch if run.epoch else None,
            memory_gib=run.memory_gib or None,
            device=run.device,
            changes=changes_of(study, run.number),
        )
        for run in sorted(live, key=lambda run: (run.number, run.label))
    )


def changes_of(study: ReadableStudy, number: int) -> str:
    """Return the parameters of a trial that differ from the default configuration."""
    trials = study.trials()
    if number == 0:
        return "nothing: the default configuration"
    return parameters_text(changed_parameters(trials[number].params, trials[0].params))


def comparison_s(study: ReadableStudy, forecast: Forecast, pace_s: float) -> float:
    """Return the maximum time of the re-evaluation in seconds; 0 if there is none.

    Configurations differ in cost, and the re-evaluation trains the best ones. So an epoch takes as long as one of the
    complete trials, from which they come; `pace_s` before there are any.
    """
    complete = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
    return forecast.comparison_s(epoch_time_s(complete) or pace_s)


def final_run_s(study: ReadableStudy, forecast: Forecast, pace_s: float) -> float:
    """Return the time of the final run in seconds, 0 if there is none: at the pace of its trial, `pace_s` before."""
    if best_trial(study.trials()) is None:
        return forecast.full_run_s(pace_s)
    return forecast.full_run_s(epoch_time_s([choose_winner(study).trial]) or pace_s)


def _then(comparison_s: float, final_run_s: float) -> str:
    """Return the parts of the run that follow, and their duration."""
    parts = [f"at most {duration(comparison_s)} of re-evaluation"] if comparison_s else []
    parts += [f"about {duration(final_run_s)} of final run"] if final_run_s else []
    return f", then {' and '.join(parts)}" if parts else ""
