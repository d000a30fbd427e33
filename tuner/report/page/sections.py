"""Arrange the charts of a study in the sections of its page."""

from collections.abc import Iterator, Sequence

from tuner.report.page.charts.best_over_cost import best_over_cost_chart
from tuner.report.page.charts.costs import costs_chart
from tuner.report.page.charts.curves import curves_chart
from tuner.report.page.charts.verdict import gain_chart, paired_seeds_chart
from tuner.report.page.content import Chart, Details, Section, Table
from tuner.report.page.ending_sections import ending_sections
from tuner.report.page.parameter_sections import parameter_sections
from tuner.report.page.records.best_over_cost import BestOverCost, best_over_cost
from tuner.report.page.records.costs import Costs, costs_of
from tuner.report.page.records.curves import curves_of
from tuner.report.page.records.subject import Subject, drawn_trials, sample_note
from tuner.report.page.records.verdict import PairedSeeds, paired_seeds
from tuner.report.page.slot_section import slot_section
from tuner.study import ReadableStudy, Span, TrialRecord

_LATE = 0.9
"""Share of the training time after which an improvement means that the search was not done."""


def study_sections(
    study: ReadableStudy | None, subject: Subject, trials: Sequence[TrialRecord], spans: Sequence[Span] = ()
) -> list[Section]:
    """Return the sections that have something to show.

    Args:
        study: Study that tune created; None for one of another program.
        subject: Shared facts of the study.
        trials: All trials.
        spans: Time that slots spent on trials; empty if it is not recorded.
    """
    return [
        *_verdict(study),
        *_best(study, subject, trials),
        *parameter_sections(study, subject, trials),
        *_curves(study, subject, trials),
        *_costs(study, spans),
        *slot_section(spans, trials),
        *ending_sections(trials),
    ]


def _verdict(study: ReadableStudy | None) -> Iterator[Section]:
    record = None if study is None else paired_seeds(study)
    if record is None:
        return
    drawn = [
        Chart(
            name="paired-seeds",
            draw=lambda style: paired_seeds_chart(record, style),
            title=f"{record.metric} on each seed",
            description=f"{record.metric} of the default configuration and of trial {record.leader} on each seed",
        )
    ]
    gain, interval = record.gain, record.interval
    if gain is not None and interval is not None:
        drawn.append(
            Chart(
                name="gain",
                draw=lambda style: gain_chart(record, gain, interval, style),
                title=f"Mean gain {gain:+.4f}, 95 % interval {interval[0]:+.4f} to {interval[1]:+.4f}",
                description=f"Gain on each seed, and the mean {gain:.4f} with its interval",
            )
        )
    yield Section(
        title=_verdict_title(record),
        note="Both configurations were trained on the same seeds, which the search did not use. The interval accounts "
        "for choosing the best of several candidates, and for looking at the results more than once.",
        items=tuple(drawn),
    )


def _verdict_title(record: PairedSeeds) -> str:
    whole = [p for p in record.pairs if p.leader is not None and p.default is not None]
    better = sum((pair.leader or 0.0) > (pair.default or 0.0) for pair in whole)
    return f"Trial {record.leader} is better than the default configuration on {better} of {len(whole)} seeds"


def _best(study: ReadableStudy | None, subject: Subject, trials: Sequence[TrialRecord]) -> Iterator[Section]:
    estimate = None if study is None else study.profiling.estimate
    epochs = estimate.trained if estimate is not None and estimate.trials == len(trials) else None
    record = best_over_cost(subject, trials, epochs_estimated=epochs)
    if record is None:
        return
    parts = ["The line is the best value so far; each dot is a complete trial"]
    parts += ["the dashed line is the default configuration"] if record.default is not None else []
    parts += ["the green band is the estimated cost of the search"] if record.estimate is not None else []
    drawn = Chart(
        name="best-over-cost",
        draw=lambda style: best_over_cost_chart(record, style),
        description=f"Best {record.metric} over the training time of the search",
    )
    yield Section(title=_best_title(record), note="; ".join(parts) + ".", items=(drawn,))


def _best_title(record: BestOverCost) -> str:
    """Say when the last improvement came: a search that improved to its end was too short."""
    final = record.points[-1].best
    found = next(point for point in record.points if point.best == final)
    if len(record.points) < 2 or not record.hours:
        return "Best value over cost"
    share = found.hours / record.hours
    if share > _LATE:
        return f"The best value, {final:.4f}, came at the very end: a longer search may find more"
    return f"The best value, {final:.4f}, came after {100 * share:.0f} % of the training time"


def _curves(study: ReadableStudy | None, subject: Subject, trials: Sequence[TrialRecord]) -> Iterator[Section]:
    rungs_of_study = () if study is None else study.spec.rungs
    shown = drawn_trials(subject, trials)
    record, sample = curves_of(subject, trials, rungs_of_study), curves_of(subject, shown, rungs_of_study)
    if record is None or sample is None:
        return
    drawn = Chart(
        name="curves",
        draw=lambda style: curves_chart(sample, style),
        description=f"{record.metric} of {len(record.curves)} trials by epoch",
    )
    last = max(curve.epochs[-1] for curve in record.curves)
    ended = sum(curve.epochs[-1] == last for curve in record.curves)
    rungs = " Vertical lines are rungs, at which trials are compared." if record.rungs else ""
    yield Section(
        title=f"{ended} of {len(record.curves)} trials reached epoch {last}",
        note=f"One line per trial, through the epochs that were validated.{rungs}{sample_note(shown, trials)}",
        items=(drawn,),
    )


def _costs(study: ReadableStudy | None, spans: Sequence[Span]) -> Iterator[Section]:
    record = None if study is None else costs_of(study, spans)
    if record is None:
        return
    drawn = Chart(
        name="costs",
        draw=lambda style: costs_chart(record, style),
        description=f"Training time by phase, {record.hours:.2f} {record.unit} in total",
    )
    yield Section(
        title=_costs_title(record),
        note="Blue is the training time that was spent; the bracket is what was expected, at the measured time "
        "of an epoch: for the search, the estimate from before its start; for the re-evaluation, the fewest and the "
        "most runs of its plan; for the final run, its full length.",
        items=(drawn, Details(summary="The numbers", items=(_costs_table(record),))),
    )


def _costs_title(record: Costs) -> str:
    spent = f"{record.hours:,.2f} {record.unit} of training"
    expected = record.phases[0].expected_epochs
    if record.phases[0].phase != "search" or expected is None:
        return spent
    epochs, (low, high) = record.phases[0].epochs, expected
    where = "below" if epochs < low else "above" if epochs > high else "within"
    return f"{spent}; the search stayed {where} its estimate" if where != "above" else (
        f"{spent}; the search took {100 * (epochs / high - 1):.0f} % more than its estimate"
    )  # fmt: skip


def _costs_table(record: Costs) -> Table:
    rows = [
        (
            phase.phase,
            f"{phase.epochs:,}",
            "" if phase.expected_epochs is None else _range(phase.expected_epochs, ",.0f"),
            "" if phase.epoch_s is None else f"{phase.epoch_s:,.1f}",
            f"{phase.hours:,.2f}",
            "" if phase.expected_hours is None else _range(phase.expected_hours, ",.2f"),
            "" if phase.occupied_hours is None else f"{phase.occupied_hours:,.2f}",
        )
        for phase in record.phases
    ]
    if record.wall_hours:
        expected = "" if record.expected_wall_hours is None else _range(record.expected_wall_hours, ",.2f")
        rows.append(("search, wall time in hours", "", "", "", f"{record.wall_hours:,.2f}", expected, ""))
    header = ("phase", "epochs", "expected", "seconds per epoch", record.unit, "expected", "hours of occupied slots")
    return Table(header=header, rows=tuple(rows), numbers=frozenset(range(1, 7)))


def _range(ends: tuple[float, float], form: str) -> str:
    low, high = f"{ends[0]:{form}}", f"{ends[1]:{form}}"
    return low if low == high else f"{low} to {high}"
