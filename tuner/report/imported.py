"""Tell what a file of configurations gives to a space: what is taken, changed and left out, and why."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tuner.search.warm_start import MOST, Misfit, Start, fit
from tuner.space import Space
from tuner.system.printable import printable
from tuner.training.tuning_results import TuningResults

_MOST_LINES = 8
"""Line numbers to print for one reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportSummary:
    """Fate of the configurations of one file in a space."""

    file: str
    iterations: int
    ranked: int
    """Number of configurations that trained."""
    fitting: int
    """Number of them that fit into the space."""
    left_out: tuple[tuple[str, tuple[int, ...]], ...]
    """Reasons, each with the lines of the file that it concerns."""
    misfits: tuple[tuple[str, int], ...]
    """Reasons why configurations do not fit into the space, each with their number."""
    clipped: tuple[tuple[str, int], ...]
    """Parameters with values outside of their range, each with the number of configurations."""
    unknown: tuple[str, ...]
    """Parameters of the file that the space does not have."""
    fixed: tuple[str, ...]
    """Parameters of the file that the space fixes."""
    missing: tuple[str, ...]
    """Searched parameters that the file does not have; the space's defaults apply."""
    lacks_optimizer: bool
    """True if the file has learning rates for the space, but not the optimizer that they belong to."""
    notes: tuple[str, ...]


def import_summary(space: Space, results: TuningResults) -> ImportSummary:
    """Count what happens to the configurations of a file."""
    ranked = results.source.ranked
    fits = [fit(space, candidate) for candidate in ranked]
    reasons: dict[str, list[int]] = {}
    for each in results.left_out:
        reasons.setdefault(each.reason, []).append(each.line)
    given = {name for candidate in ranked for name in candidate.values}
    searched = {parameter.name for parameter in space.searched}
    known = {parameter.name for parameter in space.parameters}
    return ImportSummary(
        file=results.source.name,
        iterations=results.iterations,
        ranked=len(ranked),
        fitting=sum(isinstance(each, Start) for each in fits),
        left_out=tuple((reason, tuple(lines)) for reason, lines in reasons.items()),
        misfits=tuple(Counter(each.reason for each in fits if isinstance(each, Misfit)).most_common()),
        clipped=tuple(Counter(c.name for each in fits if isinstance(each, Start) for c in each.clipped).most_common()),
        unknown=tuple(sorted(given - known)),
        fixed=tuple(sorted(given & (known - searched))),
        missing=tuple(sorted(searched - given)),
        lacks_optimizer="lr0" in given & searched and "optimizer" not in given,
        notes=results.notes,
    )


def import_text(space: Space, summaries: Sequence[ImportSummary], starts: Sequence[Start]) -> list[RenderableType]:
    """Return the summaries and the configurations that are tried first, for a terminal."""
    lines = [line for summary in summaries for line in _lines(space, summary)]
    fitting = sum(summary.fitting for summary in summaries)
    lines += [
        "",
        f"To try first, best first: {len(starts)} of {fitting} that fit. At most {MOST} are tried; duplicates and the "
        "default configuration are left out.",
        "A search trains them like any other configuration: fitness from elsewhere is no result of the search.",
        "",
    ]
    return [*(Text(printable(line)) for line in lines), _table(starts)]


def import_line(summary: ImportSummary) -> str:
    """Return the summary in one line."""
    read = f"{summary.file}: {_number(summary.iterations, 'configuration')} read"
    return f"{read}, {summary.ranked} usable, {summary.fitting} fit into the space; `tune import-results` shows more"


def _lines(space: Space, summary: ImportSummary) -> Iterator[str]:
    yield f"{summary.file}: {_number(summary.iterations, 'configuration')} read, {summary.ranked} usable"
    for reason, numbers in summary.left_out:
        more = f" and {len(numbers) - _MOST_LINES} more" if len(numbers) > _MOST_LINES else ""
        listed = ", ".join(map(str, numbers[:_MOST_LINES]))
        yield f"  left out: {'line' if len(numbers) == 1 else 'lines'} {listed}{more}: {reason}"
    for reason, number in summary.misfits:
        yield f"  left out: {number} outside of the space {space.name}: {reason}"
    if summary.clipped:
        clipped = ", ".join(f"{name} of {number}" for name, number in summary.clipped)
        yield f"  clipped to the ranges of the space: {clipped}"
    if summary.unknown:
        yield f"  dropped, because the space does not have them: {', '.join(summary.unknown)}"
    if summary.fixed:
        yield f"  dropped, because the space fixes them: {', '.join(summary.fixed)}"
    if summary.missing:
        yield f"  not in the file, so the space's default is used: {', '.join(summary.missing)}"
    if summary.lacks_optimizer:
        yield "  warning: the file does not name the optimizer of its lr0 and momentum; add --set optimizer=NAME"
    for note in summary.notes:
        yield f"  note: {note}"


def _table(starts: Sequence[Start]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("first", justify="right")
    table.add_column("found as", overflow="fold")
    table.add_column("clipped", overflow="fold")
    for number, start in enumerate(starts, start=1):
        clipped = ", ".join(f"{c.name} {c.given:g} to {c.taken:g}" for c in start.clipped)
        table.add_row(str(number), Text(printable(start.candidate.origin)), Text(printable(clipped)))
    return table


def _number(number: int, of: str) -> str:
    return f"{number} {of}{'' if number == 1 else 's'}"
