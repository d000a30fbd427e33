"""Show which parameters matter, and which values are good."""

from collections.abc import Iterator, Sequence

from tuner.report.page.charts.importance import importance_chart
from tuner.report.page.charts.parallel import parallel_chart
from tuner.report.page.charts.slices import slice_chart
from tuner.report.page.content import Chart, Details, Paragraph, Section
from tuner.report.page.records.importance import ENOUGH_COMPLETE, FEWEST_RANKED, Importance, importance_of
from tuner.report.page.records.parameters import axes_of
from tuner.report.page.records.slices import Parallel, Slice, parallel_of, slice_of
from tuner.report.page.records.subject import Subject, drawn_trials, even_sample, sample_note
from tuner.space import name_of
from tuner.study import ReadableStudy, TrialRecord

_SLICES_SHOWN = 6
_PARALLEL_AXES = 5


def parameter_sections(
    study: ReadableStudy | None, subject: Subject, trials: Sequence[TrialRecord]
) -> Iterator[Section]:
    """Yield the sections on importance, slices and parallel coordinates, the most important parameter first."""
    axes = axes_of(study, trials)
    drawn = drawn_trials(subject, trials)
    note = sample_note(drawn, trials)
    importance = importance_of(subject, even_sample(trials), axes)  # the best ones would have too much weight
    if importance is not None:
        yield _importance(importance, is_sample=len(drawn) < len(trials))
        order = [each.label for each in importance.parameters]
        axes = tuple(sorted(axes, key=lambda axis: order.index(axis.label) if axis.label in order else len(order)))
    slices = [made for axis in axes if (made := slice_of(subject, drawn, axis)) is not None]
    if slices:
        yield _slices(slices, note, is_ranked=importance is not None)
    names = list(dict.fromkeys(name_of(axis.label) for axis in axes))[:_PARALLEL_AXES]
    parallel = parallel_of(subject, drawn, [axis for axis in axes if name_of(axis.label) in names])
    if parallel is not None:
        yield _parallel(parallel, note, is_ranked=importance is not None)


def _importance(record: Importance, *, is_sample: bool) -> Section:
    first = record.parameters[0]
    few = record.complete < ENOUGH_COMPLETE
    warning = Paragraph(
        text=f"Only {record.complete} trials are complete, fewer than {ENOUGH_COMPLETE}: take this ranking as a hint "
        "for the next search, not as a result.",
        is_warning=True,
    )
    drawn = Chart(
        name="importance",
        draw=lambda style: importance_chart(record, style),
        description="Importance of each parameter, the largest first",
    )
    return Section(
        title=f"{first.label} separates the best trials from the rest most"
        if first.stands_out
        else "No parameter stands out",
        note=f"PED-ANOVA on {'an even sample of ' if is_sample else ''}{record.ranked} trials: how much the values of "
        f"the best {record.best} differ from those of all. Trials rank by the last epoch that they reached, then by "
        "their value there; the default and failed trials do not count. The tick on a bar is what chance alone exceeds "
        "in one of ten cases; a bar that does not reach it is grey.",
        items=(warning, drawn) if few else (drawn,),
    )


def _slices(slices: Sequence[Slice], sample: str, *, is_ranked: bool) -> Section:
    order = (
        "the most important one first"
        if is_ranked
        else f"in the order of the space: to tell which one matters most takes at least {FEWEST_RANKED} trials"
    )
    drawn = tuple(_slice(made, number) for number, made in enumerate(slices))
    more = drawn[_SLICES_SHOWN:]
    folded = Details(summary=f"{len(more)} more parameters", items=more, is_dense=True)
    return Section(
        title="Where good values of each parameter lie",
        note=f"{slices[0].metric} after the last epoch by parameter, {order}. Dots are complete trials. Ticks at the "
        "bottom are trials that ended before: grey ones were stopped or paused, because their values were behind; red "
        f"and violet ones failed or diverged.{sample}",
        items=(*drawn[:_SLICES_SHOWN], folded) if more else drawn,
        is_dense=True,
    )


def _slice(record: Slice, number: int) -> Chart:
    return Chart(
        name=f"slice-{number + 1:02d}",
        draw=lambda style: slice_chart(record, style),
        title=record.axis.label,
        description=f"{record.metric} by {record.axis.label}",
    )


def _parallel(record: Parallel, sample: str, *, is_ranked: bool) -> Section:
    drawn = Chart(
        name="parallel",
        draw=lambda style: parallel_chart(record, style),
        description=f"All trials across {', '.join(axis.label for axis in record.axes)}",
    )
    best = sum(line.is_best for line in record.lines)
    complete = sum(line.value is not None for line in record.lines)
    named = f"best {best} of {complete} complete trials" if best < complete else f"{complete} complete trials"
    named += " that are drawn" if sample else ""
    return Section(
        title=f"What the {named} have in common",
        note=f"A line per trial, from its {'most important ' if is_ranked else ''}parameters at the top to its value "
        "after the last epoch at the bottom. Coloured lines are the best complete trials; thick ones are the winner, "
        f"in blue, and the default, in orange. Grey lines are all others.{sample}",
        items=(drawn,),
    )
