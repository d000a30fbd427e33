"""Arrange the charts of a study in the sections of its report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tuner.report import charts
from tuner.report.charts import Spec, Style
from tuner.report.study_records import (
    SlotSpan,
    Subject,
    best_over_cost,
    curves_of,
    endings,
    paired_seeds,
)
from tuner.study import ReadableStudy, TrialRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedChart:
    """Chart of a report."""

    name: str
    """Name of its file, without extension."""
    draw: Callable[[Style], Spec]
    title: str = ""
    """Title, if the section has several charts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Charts under one heading."""

    title: str
    note: str
    charts: tuple[NamedChart, ...]
    is_dense: bool = False
    """True if several of its charts fit side by side."""


def study_sections(
    study: ReadableStudy | None, subject: Subject, trials: Sequence[TrialRecord], spans: tuple[SlotSpan, ...] = ()
) -> list[Section]:
    """Return the sections that have something to show.

    Args:
        study: Study that tune created; None for one of another program.
        subject: Shared facts of the study.
        trials: All trials.
        spans: Time that slots spent on trials; empty if it is not recorded.
    """
    made = [*_verdict(study), *_cost(study, subject, trials), *_curves(study, subject, trials)]
    return [*made, *_slots(spans), *_endings(trials)]


def _verdict(study: ReadableStudy | None) -> Iterator[Section]:
    record = None if study is None else paired_seeds(study)
    if record is None:
        return
    drawn = [NamedChart(name="paired-seeds", draw=lambda style: charts.paired_seeds_chart(record, style))]
    gain, interval = record.gain, record.interval
    if gain is not None and interval is not None:
        drawn.append(NamedChart(name="gain", draw=lambda style: charts.gain_chart(record, gain, interval, style)))
    yield Section(
        title=f"Default against trial {record.leader}",
        note="Both configurations were trained on the same seeds, which the search did not use. "
        "The interval of the mean gain accounts for choosing among several candidates.",
        charts=tuple(drawn),
    )


def _cost(study: ReadableStudy | None, subject: Subject, trials: Sequence[TrialRecord]) -> Iterator[Section]:
    estimate = None if study is None else study.profiling.estimate
    epochs = estimate.trained if estimate is not None and estimate.trials == len(trials) else None
    record = best_over_cost(subject, trials, epochs_estimated=epochs)
    if record is None:
        return
    parts = ["The line is the best value so far; each dot is a complete trial"]
    parts += ["the dashed line is the default configuration"] if record.default is not None else []
    parts += ["the green band is the estimated cost of the search"] if record.estimate is not None else []
    drawn = NamedChart(name="best-over-cost", draw=lambda style: charts.best_over_cost_chart(record, style))
    yield Section(title="Best value over cost", note="; ".join(parts) + ".", charts=(drawn,))


def _curves(study: ReadableStudy | None, subject: Subject, trials: Sequence[TrialRecord]) -> Iterator[Section]:
    record = curves_of(subject, trials, () if study is None else study.spec.rungs)
    if record is None:
        return
    drawn = NamedChart(name="curves", draw=lambda style: charts.curves_chart(record, style))
    rungs = " Vertical lines are rungs, at which trials are compared." if record.rungs else ""
    yield Section(title="Learning curves", note=f"One line per trial.{rungs}", charts=(drawn,))


def _slots(spans: tuple[SlotSpan, ...]) -> Iterator[Section]:
    if spans:
        drawn = NamedChart(name="slots", draw=lambda style: charts.slots_chart(spans, style))
        note = "Each bar is one trial in training, coloured by how this part of its training ended. Gaps are idle time."
        yield Section(title="Slots over time", note=note, charts=(drawn,))


def _endings(trials: Sequence[TrialRecord]) -> Iterator[Section]:
    record = endings(trials)
    if record:
        drawn = NamedChart(name="endings", draw=lambda style: charts.endings_chart(record, style))
        yield Section(title="How the trials ended", note="", charts=(drawn,))
