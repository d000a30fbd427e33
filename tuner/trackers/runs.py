"""Reduce a study's record to the runs that trackers show: plain values, without any tracker."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from optuna.trial import TrialState

from tuner.comparison.contest import Run
from tuner.comparison.record import EndedRun, Reevaluated, reevaluated
from tuner.contract import EpochRecord
from tuner.exceptions import NoSuccessfulTrialError
from tuner.study import FinalRunFacts, ReadableStudy, StudyPaths, StudySpec, TrialRecord, epoch_records
from tuner.trackers.messages import ENDED, Kind, LoggedRun
from tuner.training.final_run import choose_winner

STUDY = "study"
"""Key of the run that stands for the study itself."""

Points = dict[int, dict[str, float]]
"""Values of curves by epoch and name."""

_NO_RUNS: Mapping[str, LoggedRun] = {}


def runs_of(
    study: ReadableStudy,
    paths: StudyPaths,
    *,
    known: Mapping[str, LoggedRun] = _NO_RUNS,
    state: str = TrialState.RUNNING.name,
    reason: str = "",
) -> dict[str, LoggedRun]:
    """Return all runs of a study by key: the study itself, then trials, re-evaluations and the final run.

    Another thread than the driver's may call this: each record of a driven study is replaced, never changed.

    Args:
        study: Study to log.
        paths: Paths of the study, with the trainers' records of epochs.
        known: Earlier result; runs that had ended are taken from it, without reading their files again.
        state: State of the study; any other than RUNNING is final for this driver, so the study's files are included.
        reason: Reason for the state.
    """
    spec, trials = study.spec, study.trials()
    runs = {STUDY: _study_run(study, paths, trials, state, reason)}
    for trial in trials:
        key = f"trial-{trial.number:04d}"
        runs[key] = _ended(known, key) or _trial_run(key, trial, spec, paths)
    comparison = reevaluated(study)
    for run in () if comparison is None else _begun(comparison, paths):
        assert comparison is not None
        key = f"trial-{run.trial:04d}-seed-{run.seed}"
        unfinished = state if state == TrialState.RUNNING.name else TrialState.WAITING.name
        runs[key] = _ended(known, key) or _reevaluation(key, run, comparison, unfinished, trials, spec, paths)
    final = study.final_run
    if final is not None:
        key = f"final-run-trial-{final.trial:04d}-{final.epochs}-epochs"
        runs[key] = _ended(known, key) or _final_run(key, final, trials, spec)
    return {key: replace(run, last_epoch=max(run.points, default=0)) for key, run in runs.items()}


def _ended(known: Mapping[str, LoggedRun], key: str) -> LoggedRun | None:
    run = known.get(key)
    return run if run is not None and run.has_ended else None


def _study_run(
    study: ReadableStudy, paths: StudyPaths, trials: tuple[TrialRecord, ...], state: str, reason: str
) -> LoggedRun:
    spec = study.spec
    is_over = state != TrialState.RUNNING.name
    return LoggedRun(
        key=STUDY,
        kind=Kind.STUDY,
        name=study.name,
        state=state,
        reason=reason,
        params={
            "space": spec.space_name,
            "model": spec.model,
            "data_sha256": spec.data_sha256,
            "metric": spec.metric,
            "epochs": spec.epochs,
            "rungs": ", ".join(map(str, spec.rungs)),
            "seed": spec.seed,
            **{f"version_{name}": version for name, version in spec.versions.items()},
        },
        points=_best_by_ended_trials(trials),
        summary=_summary(state, _results(study, trials)),
        texts=_said({"verdict": _verdict(study)}),
        files=tuple(str(path) for path in (paths.params, paths.report) if is_over and path.is_file()),
    )


def _best_by_ended_trials(trials: tuple[TrialRecord, ...]) -> Points:
    """Return the best value so far by the number of trials that have ended, complete or not."""
    points: Points = {}
    best = -math.inf
    ended = sorted((t for t in trials if t.ended is not None), key=lambda t: (t.ended, t.number))
    for number, trial in enumerate(ended, start=1):
        best = best if trial.value is None else max(best, trial.value)
        if math.isfinite(best):
            points[number] = {"best": best}
    return points


def _results(study: ReadableStudy, trials: tuple[TrialRecord, ...]) -> dict[str, float | None]:
    """Return the number of trials by state, and the verdict in numbers."""
    counts = {state: sum(t.state == state for t in trials) for state in TrialState if state.is_finished()}
    comparison = reevaluated(study)
    verdict = None if comparison is None else comparison.verdict
    low, high = (None, None) if verdict is None or verdict.interval is None else verdict.interval
    return {
        **{f"trials_{state.name.lower()}": float(number) for state, number in counts.items()},
        "gain": None if verdict is None else verdict.gain,
        "gain_low": low,
        "gain_high": high,
        "p_value": None if verdict is None else verdict.p_value,
    }


def _verdict(study: ReadableStudy) -> str:
    """Describe how the winner compares with the default configuration; "" as long as no trial is complete."""
    try:
        return choose_winner(study).said()
    except NoSuccessfulTrialError:
        return ""


def _trial_run(key: str, trial: TrialRecord, spec: StudySpec, paths: StudyPaths) -> LoggedRun:
    facts = trial.facts
    points: Points = {epoch: {spec.metric: value} for epoch, value in trial.curve.items()}
    last = max(trial.curve, default=0)
    if trial.state.is_finished() and facts.metrics is not None and last:
        # The other metrics of the last validated epoch, if the trainer keeps no file of them.
        points[last] = {**facts.metrics, **points[last]}
    return LoggedRun(
        key=key,
        kind=Kind.TRIAL,
        name=f"trial {trial.number}",
        state=trial.state.name,
        reason=trial.reason or (f"paused after epoch {facts.paused_at}" if trial.is_paused else ""),
        params={**trial.params, "epochs": spec.epochs, "seed": spec.seed},
        points=_with_records(points, paths.trial(trial.number)),
        summary=_summary(
            trial.state.name,
            {
                "value": trial.value,
                "seconds": facts.seconds,
                "gpu_share": facts.gpu_share,
                "trained_epochs": facts.epochs,
                "memory_gib": facts.memory_gib,
                "attempts": facts.attempts,
            },
        ),
        texts=_said({"device": facts.device, "failure": facts.failure}),
    )


def _begun(comparison: Reevaluated, paths: StudyPaths) -> Iterator[Run]:
    """Yield the runs of a comparison that have begun; the study records only those that have ended."""
    for run in comparison.plan.runs:
        if run in comparison.evidence or paths.reevaluated(run.trial, run.seed).is_dir():
            yield run


def _reevaluation(
    key: str,
    run: Run,
    comparison: Reevaluated,
    unfinished: str,
    trials: tuple[TrialRecord, ...],
    spec: StudySpec,
    paths: StudyPaths,
) -> LoggedRun:
    ended = next((e for e in comparison.runs if (e.trial, e.seed) == run), None)
    state, reason = _ending(ended, comparison, unfinished)
    points: Points = {}
    summary: dict[str, float | None] = {}
    if ended is not None:
        points = {} if ended.value is None else {spec.epochs: {spec.metric: ended.value}}
        summary = {"value": ended.value, "seconds": ended.seconds, "trained_epochs": ended.epochs}
    return LoggedRun(
        key=key,
        kind=Kind.REEVALUATION,
        name=f"trial {run.trial}, seed {run.seed}",
        state=state,
        reason=reason,
        params={**trials[run.trial].params, "epochs": spec.epochs, "seed": run.seed},
        points=_with_records(points, paths.reevaluated(run.trial, run.seed)),
        summary=_summary(state, summary),
    )


def _ending(ended: EndedRun | None, comparison: Reevaluated, unfinished: str) -> tuple[str, str]:
    """Return the state of a re-evaluation and its reason."""
    if ended is not None:
        return (TrialState.FAIL if ended.value is None else TrialState.COMPLETE).name, ended.reason
    if comparison.verdict is not None:
        return TrialState.PRUNED.name, "the comparison was decided without it"
    return unfinished, ""


def _final_run(key: str, final: FinalRunFacts, trials: tuple[TrialRecord, ...], spec: StudySpec) -> LoggedRun:
    return LoggedRun(
        key=key,
        kind=Kind.FINAL_RUN,
        name=f"final run of trial {final.trial}, {final.epochs} epochs",
        state=final.state,
        reason=final.reason,
        params={**trials[final.trial].params, "epochs": final.epochs, "seed": spec.seed},
        points=_with_records({}, Path(final.directory)),
        summary=_summary(final.state, {f"best/{name}": value for name, value in (final.metrics or {}).items()}),
        texts=_said({"weights": final.checkpoint}),
    )


def _with_records(points: Points, folder: Path) -> dict[int, Mapping[str, float]]:
    """Add what the trainer recorded of each epoch; values that the study has decided by stay as they are."""
    recorded = {record.epoch: _values(record) for record in epoch_records(folder)}
    epochs = sorted({*points, *recorded})
    return {epoch: {**recorded.get(epoch, {}), **points.get(epoch, {})} for epoch in epochs}


def _values(record: EpochRecord) -> dict[str, float]:
    losses = {f"train/{name}": loss for name, loss in record.losses.items()}
    return {**(record.metrics or {}), **losses, "lr": record.learning_rate, "epoch_seconds": record.seconds}


def _summary(state: str, values: Mapping[str, float | None]) -> dict[str, float]:
    """Return the known and finite values of a run that has ended; none before, because they would still change."""
    if state not in ENDED:
        return {}
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}


def _said(texts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text}
