"""Collect the learning curves of all trials."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.report.page.records.endings import ending_of
from tuner.report.page.records.subject import Role, Subject
from tuner.study import TrialRecord

_MAX_POINTS = 20_000
"""Points of all curves in one chart; more make the page heavy and cannot be told apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialCurve:
    """Finite metrics of one trial by epoch."""

    trial: int
    role: Role
    ending: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """Learning curves of all trials."""

    metric: str
    rungs: tuple[int, ...]
    curves: tuple[TrialCurve, ...]


def curves_of(subject: Subject, trials: Sequence[TrialRecord], rungs: Sequence[int]) -> Curves | None:
    """Return the learning curves, the winner and the default last so that they are drawn on top; None without one.

    If the curves have too many points, epochs between the rungs are left out.
    """
    finite = {t.number: {e: v for e, v in sorted(t.curve.items()) if math.isfinite(v)} for t in trials}
    step = math.ceil(sum(map(len, finite.values())) / _MAX_POINTS) or 1
    order = {Role.OTHER: 0, Role.DEFAULT: 1, Role.WINNER: 2}
    curves = []
    for trial in sorted(trials, key=lambda t: order[subject.role(t.number)]):
        curve = _thinned(finite[trial.number], step, rungs)
        if curve:
            curves.append(
                TrialCurve(
                    trial=trial.number,
                    role=subject.role(trial.number),
                    ending=ending_of(trial),
                    epochs=tuple(curve),
                    values=tuple(curve.values()),
                )
            )
    return Curves(metric=subject.metric, rungs=tuple(rungs), curves=tuple(curves)) if curves else None


def _thinned(curve: Mapping[int, float], step: int, rungs: Sequence[int]) -> dict[int, float]:
    kept = {*list(curve)[::step], *list(curve)[-1:], *rungs}
    return {epoch: value for epoch, value in curve.items() if epoch in kept}
