"""Take snapshots of a study that another process drives, from its database and the files in its folder."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from optuna.trial import TrialState

from tuner.comparison.record import reevaluated
from tuner.contract import ContractError, EpochRecord, decode
from tuner.contract.run_folder import RECORDS
from tuner.cost.actual import epoch_time_s
from tuner.cost.estimate import estimate_cost
from tuner.cost.forecast import Forecast, Position
from tuner.report.live.of_run import (
    FINAL_RUN,
    REEVALUATION,
    SEARCH,
    best_so_far,
    changes_of,
    comparison_s,
    final_run_s,
    later,
    search_bar,
)
from tuner.report.live.snapshot import PhaseBar, RunRow, Snapshot
from tuner.space import space_of
from tuner.study import ReadableStudy, Span, StudyPaths, TrialRecord, read_timeline
from tuner.trials.live import total_loss

_MOST_EVENTS = 50
_TAIL_BYTES = 16384


def recorded_forecast(study: ReadableStudy) -> Forecast:
    """Return the forecast of a study's run, from its space and the size of the run that the study has recorded."""
    spec, known = study.spec, study.profiling.estimate
    trials = max(len(study.trials()), 1 if known is None else known.trials)
    slots = 1 if known is None else known.slots
    space = space_of(spec.space, name=spec.space_name).with_settings(trials=trials)
    return Forecast(
        estimate=estimate_cost(space, slots=slots), slots=slots, epochs=spec.epochs, promote_epochs=spec.promote_epochs
    )


def recorded_snapshot(study: ReadableStudy, paths: StudyPaths, forecast: Forecast, *, problem: str = "") -> Snapshot:
    """Return the progress of a study as recorded.

    Args:
        study: Study to look at.
        paths: Paths of the study; files that are not there are left out.
        forecast: Forecast of the run.
        problem: Reason why the driver appears to be dead; then nothing is shown as running. Empty if it is alive.
    """
    record = _Record(study, paths, forecast, is_alive=not problem)
    phases, current = record.phases()
    return Snapshot(
        phases=phases,
        current=current,
        metric=study.spec.metric,
        runs=record.rows(),
        best=best_so_far(study),
        events=tuple(_events(study))[-_MOST_EVENTS:],
        notice=problem,
        elapsed_s=record.elapsed_s(),
        left_s=None if problem else record.left_s(),
    )


class _Record:
    """Contents of a study's record at one moment."""

    def __init__(self, study: ReadableStudy, paths: StudyPaths, forecast: Forecast, *, is_alive: bool) -> None:
        self._study = study
        self._spec = study.spec
        self._trials = study.trials()
        self._forecast = forecast
        self._known = reevaluated(study)
        self._final = study.final_run
        spans = read_timeline(paths.timeline) if is_alive else ()
        final_epochs = self._spec.promote_epochs if self._final is None else self._final.epochs
        self._runs = tuple(_running(spans, self._trials, paths, epochs=self._spec.epochs, final_epochs=final_epochs))

    def phases(self) -> tuple[tuple[PhaseBar, ...], int]:
        """Return all phases, and the position of the current one."""
        position = self._position()
        counts = _counts(self._trials)
        wanted = position.to_begin + len(position.training) + len(position.paused) + len(position.ended)
        bars = {SEARCH: search_bar(position, self._forecast, counts, wanted)}
        bars.update({phase.name: phase for phase in later(self._forecast)})
        if self._known is not None:
            bars[REEVALUATION] = self._comparison_bar()
        if self._final is not None:
            bars[FINAL_RUN] = self._final_bar()
        named = [name for name in (SEARCH, REEVALUATION, FINAL_RUN) if name in bars]
        phase = FINAL_RUN if self._final is not None else REEVALUATION if self._known is not None else SEARCH
        return tuple(bars[name] for name in named), named.index(phase)

    def rows(self) -> tuple[RunRow, ...]:
        """Return a row for each run that is training."""
        return tuple(run.row(self._study) for run in self._runs)

    def elapsed_s(self) -> float | None:
        """Return the seconds since the first run of the study began; None if the record does not tell."""
        began = [trial.began.replace(tzinfo=UTC) for trial in self._trials if trial.began is not None]
        return (datetime.now(UTC) - min(began)).total_seconds() if began else None

    def left_s(self) -> float | None:
        """Return the seconds to the end of the last phase; None before an epoch's time is known."""
        pace_s = self._pace_s()
        if pace_s is None:
            return None
        full_run_s = final_run_s(self._study, self._forecast, pace_s)
        if self._final is not None:
            trained = sum(run.epoch for run in self._runs if run.span.phase == FINAL_RUN)
            return (self._final.epochs - trained) * pace_s
        if self._known is not None:
            left = self._known.plan.max_runs * self._spec.epochs - self._compared_epochs()
            return left * pace_s / self._forecast.slots + full_run_s
        left_s = self._forecast.search_epochs(self._position()) * pace_s
        return left_s + comparison_s(self._study, self._forecast, pace_s) + full_run_s

    def _pace_s(self) -> float | None:
        """Return the median time of an epoch of all runs, in seconds."""
        running = [run.latest.seconds for run in self._runs if run.latest is not None]
        ended = [epoch_s for trial in self._trials if (epoch_s := epoch_time_s([trial])) is not None]
        return median(running or ended) if running or ended else None

    def _position(self) -> Position:
        live = {run.span.trial: run.epoch for run in self._runs if run.span.phase == SEARCH}
        begun: dict[str, list[int]] = {"training": [], "paused": [], "ended": []}
        for trial in self._trials:
            epoch = max(trial.facts.epochs or 0, live.get(trial.number, 0), max(trial.curve, default=0))
            waits = "paused" if trial.is_paused else "training"
            begun["ended" if trial.state.is_finished() else waits].append(epoch)
        known = self._study.profiling.estimate
        to_begin = 0 if known is None else max(known.trials - len(self._trials), 0)
        return Position(to_begin=to_begin, **{which: tuple(epochs) for which, epochs in begun.items()})

    def _comparison_bar(self) -> PhaseBar:
        assert self._known is not None
        most, ended = self._known.plan.max_runs, len(self._known.runs)
        share = self._compared_epochs() / (most * self._spec.epochs)
        is_decided = self._known.verdict is not None
        return PhaseBar(name=REEVALUATION, share=1.0 if is_decided else share, text=f"{ended} of at most {most} runs")

    def _compared_epochs(self) -> int:
        assert self._known is not None
        running = sum(run.epoch for run in self._runs if run.span.phase == REEVALUATION)
        return len(self._known.runs) * self._spec.epochs + running

    def _final_bar(self) -> PhaseBar:
        assert self._final is not None
        trained = sum(run.epoch for run in self._runs if run.span.phase == FINAL_RUN)
        is_complete = self._final.state == TrialState.COMPLETE.name
        trained = self._final.epochs if is_complete else trained
        return PhaseBar(
            name=FINAL_RUN,
            share=trained / self._final.epochs,
            text=f"{trained} of {self._final.epochs} epochs" if is_complete or trained else self._final.state.lower(),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _RecordedRun:
    """Run that is training, as far as the record tells."""

    span: Span
    epochs: int
    latest: EpochRecord | None
    """Record of its last epoch; None if there is none, or its folder is not here."""
    curve: Mapping[int, float]

    @property
    def epoch(self) -> int:
        """Number of trained epochs that the record shows."""
        return max(max(self.curve, default=0), 0 if self.latest is None else self.latest.epoch)

    def row(self, study: ReadableStudy) -> RunRow:
        span, latest, metric = self.span, self.latest, study.spec.metric
        measured = None if latest is None or latest.metrics is None else latest.metrics.get(metric)
        recorded = self.curve[max(self.curve)] if self.curve else None
        return RunRow(
            label=f"{span.trial}, seed {span.seed}" if span.phase == REEVALUATION else str(span.trial),
            epoch=self.epoch,
            epochs=self.epochs,
            slot=span.slot,
            metric=recorded if measured is None else measured,
            loss=None if latest is None else total_loss(latest),
            epoch_s=None if latest is None else latest.seconds,
            memory_gib=None if latest is None else latest.memory_gib,
            device=span.device,
            changes=changes_of(study, span.trial),
        )


def _running(
    timeline: tuple[Span, ...], trials: tuple[TrialRecord, ...], paths: StudyPaths, *, epochs: int, final_epochs: int
) -> Iterator[_RecordedRun]:
    """Yield the last span of each slot if it has no end; spans that a killed driver left open have successors."""
    last = {span.slot: span for span in timeline}
    for span in sorted(last.values(), key=lambda span: (span.trial, span.seed)):
        if span.ended_s is not None or span.trial >= len(trials):
            continue
        folder, length, curve = paths.trial(span.trial), epochs, trials[span.trial].curve
        if span.phase == REEVALUATION:
            folder, curve = paths.reevaluated(span.trial, span.seed), {}
        elif span.phase == FINAL_RUN:
            folder, length, curve = paths.final_run(span.trial, final_epochs), final_epochs, {}
        yield _RecordedRun(span=span, epochs=length, latest=_latest_epoch(folder), curve=curve)


def _latest_epoch(folder: Path) -> EpochRecord | None:
    """Return the last whole epoch record of a run's folder; None without one."""
    with suppress(OSError), (folder / RECORDS).open("rb") as file:
        file.seek(0, 2)
        file.seek(max(file.tell() - _TAIL_BYTES, 0))
        for line in reversed(file.read().decode(errors="replace").splitlines()):
            with suppress(ContractError):
                record = decode(line)
                if isinstance(record, EpochRecord):
                    return record
    return None


def _counts(trials: tuple[TrialRecord, ...]) -> dict[str, int]:
    return {state.name.lower(): sum(trial.state == state for trial in trials) for state in TrialState}


def _events(study: ReadableStudy) -> Iterator[str]:
    """Yield how trials and re-evaluation runs ended, in that order."""
    metric = study.spec.metric
    ended = [trial for trial in study.trials() if trial.ended is not None and trial.state.is_finished()]
    for trial in sorted(ended, key=lambda trial: (trial.ended, trial.number)):
        told = trial.reason if trial.value is None else f"{metric} {trial.value:.4f}"
        yield f"trial {trial.number} {trial.state.name.lower()}: {told}"
    known = reevaluated(study)
    for run in known.runs if known else ():
        told = run.reason if run.value is None else f"{metric} {run.value:.4f}"
        yield f"trial {run.trial}, seed {run.seed}: {told}"
