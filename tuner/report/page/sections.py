"""Arrange the charts of a study in the sections of its report."""

from collections.abc import Iterator, Sequence

from tuner.report.page.charts.best_over_cost import best_over_cost_chart
from tuner.report.page.charts.curves import curves_chart
from tuner.report.page.charts.endings import endings_chart
from tuner.report.page.charts.slots import slots_chart
from tuner.report.page.charts.verdict import gain_chart, paired_seeds_chart
from tuner.report.page.content import Chart, Section
from tuner.report.page.records.best_over_cost import best_over_cost
from tuner.report.page.records.curves import curves_of
from tuner.report.page.records.endings import endings
from tuner.report.page.records.slots import slots_of
from tuner.report.page.records.subject import Subject
from tuner.report.page.records.verdict import paired_seeds
from tuner.study import ReadableStudy, Span, TrialRecord


def study_sections(
    study: ReadableStudy | None, subject: Subject, trials: Sequence[TrialRecord], spans: tuple[Span, ...] = ()
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
    drawn = [Chart(name="paired-seeds", draw=lambda style: paired_seeds_chart(record, style))]
    gain, interval = record.gain, record.interval
    if gain is not None and interval is not None:
        drawn.append(Chart(name="gain", draw=lambda style: gain_chart(record, gain, interval, style)))
    yield Section(
        title=f"Default against trial {record.leader}",
        note="Both configurations were trained on the same seeds, which the search did not use. "
        "The interval of the mean gain accounts for choosing among several candidates.",
        items=tuple(drawn),
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
    drawn = Chart(name="best-over-cost", draw=lambda style: best_over_cost_chart(record, style))
    yield Section(title="Best value over cost", note="; ".join(parts) + ".", items=(drawn,))


def _curves(study: ReadableStudy | None, subject: Subject, trials: Sequence[TrialRecord]) -> Iterator[Section]:
    record = curves_of(subject, trials, () if study is None else study.spec.rungs)
    if record is None:
        return
    drawn = Chart(name="curves", draw=lambda style: curves_chart(record, style))
    rungs = " Vertical lines are rungs, at which trials are compared." if record.rungs else ""
    yield Section(title="Learning curves", note=f"One line per trial.{rungs}", items=(drawn,))


def _slots(spans: tuple[Span, ...]) -> Iterator[Section]:
    record = slots_of(spans)
    if record is not None:
        drawn = Chart(name="slots", draw=lambda style: slots_chart(record, style))
        note = "Each bar is one trial in training, coloured by how this part of its training ended. Gaps are idle time."
        yield Section(title="Slots over time", note=note, items=(drawn,))


def _endings(trials: Sequence[TrialRecord]) -> Iterator[Section]:
    record = endings(trials)
    if record:
        drawn = Chart(name="endings", draw=lambda style: endings_chart(record, style))
        yield Section(title="How the trials ended", note="", items=(drawn,))
