"""Choose the winner of a search, and request and record its final run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from optuna.trial import TrialState

from tuner.comparison.contest import Conclusion, Verdict
from tuner.comparison.record import reevaluated
from tuner.contract import EndRecord, EpochRecord, Outcome, Params, ProgressRecord, Record, TrainRequest
from tuner.exceptions import FailurePolicyError, NoSuccessfulTrialError
from tuner.search.results import at_ceiling, nothing_learnt
from tuner.search.summary import failures_by_cause
from tuner.space import DETERMINISTIC
from tuner.study import FinalRunFacts, ReadableStudy, StudyPaths, StudySession, TrialRecord, best_trial
from tuner.trials.live import share_of
from tuner.trials.requests import Inputs, every_epoch, train_request


@dataclass(frozen=True, kw_only=True, slots=True)
class Winner:
    """Best configuration of a search, with the default configuration for comparison."""

    trial: TrialRecord
    baseline: TrialRecord | None
    """Trial of the default configuration; None if it did not complete."""
    verdict: Verdict | None = None
    """Verdict of the re-evaluation; None if there was none."""
    nothing_learnt: str = ""
    """Reason why a final run is not worthwhile; "" if it is (see `tuner.search.results`)."""
    is_perfect: bool = False
    """True if its metric has the highest possible value."""

    @property
    def gain(self) -> float | None:
        """Metric of the winner minus the baseline's; None without a baseline. One seed each, so it proves nothing."""
        if self.baseline is None or self.trial.value is None or self.baseline.value is None:
            return None
        return self.trial.value - self.baseline.value

    def said(self) -> str:
        """Describe how the winner compares with the baseline, in one or two sentences."""
        if self.nothing_learnt:
            return f"Nothing was learnt in the search: {self.nothing_learnt}."
        if self.verdict is not None:
            return self.verdict.statement + self._chosen_without_a_gain(self.verdict)
        if self.trial.is_baseline:
            perfect = " Its value is the highest possible." if self.is_perfect else ""
            return f"The default configuration was not beaten: keep it.{perfect}"
        if self.gain is None:
            return "The default configuration is not complete, so there is nothing to compare with."
        return f"Trial {self.trial.number} is {_lead(self.gain)}."

    def _chosen_without_a_gain(self, verdict: Verdict) -> str:
        if verdict.conclusion == Conclusion.BETTER:
            return ""
        if self.trial.is_baseline:
            return " The default configuration is kept."
        why = "its lead is above zero" if verdict.leader == self.trial.number else "it is the best candidate"
        return f" Trial {self.trial.number} is still chosen: {why}."


def choose_winner(study: ReadableStudy) -> Winner:
    """Return the winner by the re-evaluation's verdict; without one, the COMPLETE trial with the highest metric.

    A verdict counts as long as the search's best trial was part of the comparison.

    Raises:
        NoSuccessfulTrialError: No trial is complete; the message says why.
    """
    trials = study.trials()
    best = best_trial(trials)
    if best is None:
        raise NoSuccessfulTrialError(_nothing_complete(study.name, trials))
    baseline = next((t for t in trials if t.is_baseline and t.state == TrialState.COMPLETE), None)
    known = reevaluated(study)
    if known is None or known.verdict is None or not known.judges(best.number):
        metric = study.spec.metric
        return Winner(
            trial=best,
            baseline=baseline,
            nothing_learnt=nothing_learnt(trials, metric) or "",
            is_perfect=best.value is not None and at_ceiling(best.value, metric),
        )
    return Winner(trial=trials[known.verdict.winner], baseline=baseline, verdict=known.verdict)


def require_something_learnt(study: ReadableStudy, paths: StudyPaths) -> None:
    """Refuse a re-evaluation or final run if no trial of the search learned anything.

    Raises:
        FailurePolicyError: No trial learned anything; the message names the likely causes and what the best trial's
            curves show.
    """
    trials = study.trials()
    best, reason = best_trial(trials), nothing_learnt(trials, study.spec.metric)
    if best is None or reason is None:
        return
    from tuner.diagnosis import finding_lines  # `tune status` imports this module too, and needs no diagnosis

    shown = "".join(f". Trial {best.number} shows {line}" for line in finding_lines(paths.trial(best.number)))
    raise FailurePolicyError(
        f"Nothing was learnt, so there is no final run: {reason}{shown}. Logs: {paths.root / 'trials'}. "
        f"If the search had too few epochs, `tune promote {study.name} --epochs N` trains trial {best.number} anyway."
    )


def standing(study: ReadableStudy) -> str:
    """Describe the state of a search in one statement: the verdict or, before there is one, the best trial's lead."""
    best = best_trial(study.trials())
    if best is None or best.value is None:
        return "no trial is complete yet"
    winner = choose_winner(study)
    if winner.verdict is not None:
        return winner.said()
    if winner.nothing_learnt and not waiting(study.trials()):
        return f"nothing was learnt: {winner.nothing_learnt}"
    named = f"best {best.value:.4f} (trial {best.number}"
    if best.is_baseline:
        return f"{named}, the default configuration)"
    return f"{named})" if winner.gain is None else f"{named}), {_lead(winner.gain)}"


def _lead(gain: float) -> str:
    """Describe a lead in the search and its limit: it rests on one run per configuration."""
    return f"{gain:.4f} ahead of the default configuration on one seed, which does not prove a gain"


def waiting(trials: Sequence[TrialRecord]) -> str:
    """Describe the unfinished trials, such as "2 wait to resume, 1 is training"; "" if there are none."""
    cut_off = sum(t.state == TrialState.WAITING and not t.is_paused for t in trials)
    paused = sum(t.is_paused for t in trials)
    training = sum(t.state == TrialState.RUNNING for t in trials)
    parts = [(cut_off, "to resume"), (paused, "at a rung")]
    said = [f"{number} {'waits' if number == 1 else 'wait'} {what}" for number, what in parts if number]
    said += [f"{training} {'is' if training == 1 else 'are'} training"] if training else []
    return ", ".join(said)


def full_run_params(winner: Winner, deterministic: bool | None) -> Params:
    """Return the parameters of the final run: those of the winner, and `deterministic` unless that is None."""
    return winner.trial.params if deterministic is None else {**winner.trial.params, DETERMINISTIC: deterministic}


def full_run_request(
    study: StudySession,
    paths: StudyPaths,
    winner: Winner,
    *,
    epochs: int,
    gpus: int,
    threads: int,
    deterministic: bool | None = None,
    image_cache_bytes: int = 0,
) -> TrainRequest:
    """Build the request of the final run: the winner's parameters, its own schedule and validation at every epoch.

    The folder is named after trial and length, so the same final run resumes where it stopped.
    """
    return train_request(
        Inputs.of_study(study.spec),
        full_run_params(winner, deterministic),
        study=study.name,
        trial=winner.trial.number,
        epochs=epochs,
        validation_epochs=every_epoch(epochs),
        seed=study.spec.seed,
        gpus=gpus,
        threads=threads,
        directory=paths.final_run(winner.trial.number, epochs),
        full=True,
        image_cache_bytes=image_cache_bytes,
    )


class FinalRun:
    """Final run of a study: receives the trainer's records and stores what later commands need."""

    def __init__(self, study: StudySession, request: TrainRequest, *, deterministic: bool | None = None) -> None:
        self.study = study
        self.request = request
        self.latest: EpochRecord | None = None
        self.within: float | None = None
        """Finished share of the running epoch, 0..1; None if the trainer does not report it."""
        self.best: float | None = None
        self._facts = FinalRunFacts(
            trial=request.trial,
            epochs=request.epochs,
            directory=request.directory,
            state=TrialState.RUNNING.name,
            gpus=len(request.devices),
            deterministic=deterministic,
        )
        study.record_final_run(self._facts)

    def use_gpus(self, number: int) -> None:
        """Record the number of GPUs that train now; an attempt may have fewer than the one before."""
        if number != self._facts.gpus:
            self._facts = replace(self._facts, gpus=number)
            self.study.record_final_run(self._facts)

    def report(self, record: Record) -> None:
        """Keep the latest epoch and the progress in the running one."""
        if isinstance(record, ProgressRecord):
            self.within = share_of(record)
        if isinstance(record, EpochRecord):
            self.latest, self.within = record, None
            value = (record.metrics or {}).get(self.study.spec.metric)
            if value is not None:
                self.best = value if self.best is None else max(self.best, value)

    def end(self, end: EndRecord) -> None:
        """Record the end of the run in the study."""
        ended = replace(self._facts, log=end.log)
        if end.outcome == Outcome.COMPLETED:
            state = TrialState.COMPLETE.name
            self.study.record_final_run(replace(ended, state=state, metrics=end.metrics, checkpoint=end.checkpoint))
        elif end.outcome == Outcome.STOPPED:
            self.study.record_final_run(replace(self._facts, state=TrialState.WAITING.name))
        else:
            reason = f"{end.outcome.value}: {end.message}"
            self.study.record_final_run(replace(ended, state=TrialState.FAIL.name, reason=reason))


def _nothing_complete(name: str, trials: Sequence[TrialRecord]) -> str:
    """Explain why there is no winner: no trial is complete yet, or all have ended without completing."""
    if not trials:
        return f"No trial of '{name}' has started yet; the command that started the study continues it."
    unfinished = waiting(trials)
    if unfinished:
        return (
            f"No trial of '{name}' is complete yet: {unfinished}{_ended_besides(trials)}; "
            "the command that started the study continues it."
        )
    return f"No trial of '{name}' is complete: {_what_became(trials)}."


def _ended_besides(trials: Sequence[TrialRecord]) -> str:
    states = [(TrialState.PRUNED, "stopped early"), (TrialState.FAIL, "failed")]
    counts = [(sum(t.state == state for t in trials), what) for state, what in states]
    return "".join(f", {number} {what}" for number, what in counts if number)


def _what_became(trials: Sequence[TrialRecord]) -> str:
    counts = {s: sum(t.state == s for t in trials) for s in (TrialState.PRUNED, TrialState.FAIL)}
    causes = failures_by_cause(trials).most_common(1)
    first = f"; most common failure: '{causes[0][0]}'" if causes else ""
    return f"{counts[TrialState.PRUNED]} stopped early, {counts[TrialState.FAIL]} failed{first}"
