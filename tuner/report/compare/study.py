"""Reduce a study to the facts that a comparison with other studies shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import TrialState

from tuner.comparison.record import Reevaluated, reevaluated
from tuner.contract import ParamValue
from tuner.exceptions import NoSuccessfulTrialError
from tuner.report.page.records.best_over_cost import BestOverCost, best_over_cost
from tuner.report.page.records.subject import cost_unit, finite, subject_of
from tuner.report.studies import summary_of
from tuner.space import described, start_point_of
from tuner.study import ReadableStudy, StudyPaths, StudySpec, TrialRecord
from tuner.training.final_run import Winner, choose_winner

Settings = Mapping[str, ParamValue]


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """Result of a search and of its re-evaluation; None means that there is none yet."""

    statement: str
    """How the winner compares with the study's own default configuration, in one or two sentences."""
    winner: int | None = None
    """Trial number of the winner."""
    best: float | None = None
    """Metric of the winner in the search, on one seed."""
    default: float | None = None
    """Metric of the default configuration in the search, on one seed."""
    gain: float | None = None
    """Mean gain of the verdict's leader over the default configuration; None without a verdict."""
    interval: tuple[float, float] | None = None
    conclusion: str | None = None
    """Conclusion of the verdict; None without a verdict."""
    seeds: int = 0
    """Number of paired seeds behind the gain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Training time of a study, in hours of `unit`; failed attempts are not recorded, so they do not count."""

    unit: str
    """GPU-hours or slot-hours."""
    search: float
    reevaluation: float
    until_best: float | None
    """Training time of the search when its best value was reached; None if it is unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalRunResult:
    """Final run of a study."""

    trial: int
    epochs: int
    state: str
    """Name of a `TrialState`."""
    metrics: Mapping[str, float]
    """Finite metrics of best.pt; empty until the run is complete."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedStudy:
    """Facts about one of the compared studies."""

    label: str
    """Name that tells it apart from the others."""
    folder: str
    state: str
    """State as `tune status` lists it, such as finished or waiting."""
    metric: str
    data: str
    data_sha256: str
    epochs: int
    """Length of a complete trial."""
    trials: int
    ended: int
    """Number of trials that have ended."""
    devices: tuple[str, ...]
    """Devices that trained, as trainers name them."""
    settings: Settings
    """Settings by their names in the comparison, in the order in which they are shown."""
    result: SearchResult
    cost: Cost
    best_over_cost: BestOverCost | None
    params: Settings
    """Arguments of the winner; empty before there is one."""
    final_run: FinalRunResult | None


def compared_study(study: ReadableStudy, label: str, paths: StudyPaths, *, is_driven: bool) -> ComparedStudy:
    """Collect the facts about a study.

    Args:
        study: Study to read.
        label: Name that tells it apart from the others.
        paths: Paths of the study.
        is_driven: True if a driver runs the study now.

    Raises:
        StorageError: The database cannot be used.
    """
    spec, trials, known = study.spec, study.trials(), reevaluated(study)
    summary = summary_of(study, is_driven=is_driven, journal=paths.journal)
    winner, statement = _winner(study)
    curve = best_over_cost(subject_of(study), trials)
    return ComparedStudy(
        label=label,
        folder=str(paths.root),
        state=summary.state,
        metric=spec.metric,
        data=spec.data,
        data_sha256=spec.data_sha256,
        epochs=spec.epochs,
        trials=len(trials),
        ended=summary.ended,
        devices=tuple(sorted({trial.facts.device for trial in trials if trial.facts.device})),
        settings=_settings(study, spec, trials, known),
        result=_result(winner, statement, trials),
        cost=_cost(trials, known, curve),
        best_over_cost=curve,
        params={} if winner is None else _params(winner.trial),
        final_run=_final_run(study),
    )


def labels(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the folders' paths that tell them apart: names alone, if they are different."""
    longest = max((len(folder.parts) for folder in folders), default=0)
    for length in range(1, longest + 1):
        ends = [str(Path(*folder.parts[-length:])) for folder in folders]
        if len(set(ends)) == len(ends):
            return ends
    return [f"{folder} ({number})" for number, folder in enumerate(folders, start=1)]


def _winner(study: ReadableStudy) -> tuple[Winner | None, str]:
    try:
        winner = choose_winner(study)
    except NoSuccessfulTrialError as error:
        return None, str(error)
    return winner, winner.said()


def _settings(
    study: ReadableStudy, spec: StudySpec, trials: tuple[TrialRecord, ...], known: Reevaluated | None
) -> Settings:
    """Return the settings by name; those that the study lacks are left out."""
    estimate = study.profiling.estimate
    settings: dict[str, ParamValue] = {
        "space": spec.space_name,
        "model": spec.model,
        "model content": spec.model_sha256[:12],
        "data": spec.data,
        "data content": spec.data_sha256[:12],
        "metric": spec.metric,
        "epochs of a trial": spec.epochs,
        "rungs": ", ".join(map(str, spec.rungs)),
        "reduction factor": spec.reduction_factor,
        "trials": len(trials),
        "seed": spec.seed,
        "warm start": f"{len(spec.warm_start)} configurations" if spec.warm_start else "",
        "starting points": ", ".join(map(start_point_of, spec.start_points)),
        "re-evaluation runs": "" if known is None else f"{known.plan.max_runs} at most",
        "epochs of the final run": spec.promote_epochs,
        "slots": "" if estimate is None else estimate.slots,
        "devices": ", ".join(sorted({trial.facts.device for trial in trials if trial.facts.device})),
        **{f"{name} version": version for name, version in sorted(spec.versions.items())},
        **{f"space: {part}": text for part, text in described(spec.space).items()},
    }
    return {name: value for name, value in settings.items() if value != ""}


def _result(winner: Winner | None, statement: str, trials: tuple[TrialRecord, ...]) -> SearchResult:
    default = next((t.value for t in trials if t.is_baseline and t.state == TrialState.COMPLETE), None)
    if winner is None:
        return SearchResult(statement=statement, default=finite(default))
    verdict = winner.verdict
    return SearchResult(
        statement=statement,
        winner=winner.trial.number,
        best=finite(winner.trial.value),
        default=finite(default),
        gain=None if verdict is None else verdict.gain,
        interval=None if verdict is None else verdict.interval,
        conclusion=None if verdict is None else verdict.conclusion.value,
        seeds=0 if verdict is None else verdict.seeds,
    )


def _cost(trials: tuple[TrialRecord, ...], known: Reevaluated | None, curve: BestOverCost | None) -> Cost:
    until = None if curve is None else next(p.hours for p in curve.points if p.value == curve.points[-1].best)
    return Cost(
        unit=cost_unit(trials),
        search=sum(trial.facts.gpu_seconds for trial in trials) / 3600,
        reevaluation=sum(run.gpu_seconds for run in (known.runs if known else ())) / 3600,
        until_best=until,
    )


def _params(trial: TrialRecord) -> Settings:
    """Return the arguments of a trial with the batch size that it was trained with."""
    return {**trial.params, **({} if trial.facts.batch is None else {"batch": trial.facts.batch})}


def _final_run(study: ReadableStudy) -> FinalRunResult | None:
    run = study.final_run
    if run is None:
        return None
    metrics = {name: value for name, value in (run.metrics or {}).items() if math.isfinite(value)}
    return FinalRunResult(trial=run.trial, epochs=run.epochs, state=run.state, metrics=metrics)
