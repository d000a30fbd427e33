"""The check of a data set in words."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tuner.contract.data_report import ClassFacts, DataReport, Finding, Level, Place
from tuner.system.printable import printable

_CLASSES_SHOWN = 20
_NAME_WIDTH = 28


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """The findings of one kind, of all splits together."""

    name: str
    level: Level
    what: str
    counts: str
    """How many places, by split."""
    remedy: str
    places: tuple[Place, ...]


def by_kind(findings: Sequence[Finding]) -> list[Kind]:
    """In the order of the report."""
    kinds = []
    for name, grouped in groupby(findings, key=lambda finding: finding.kind):
        alike = list(grouped)
        counts = [f"{len(each.places):,}{' in ' + each.split if each.split else ''}" for each in alike]
        kinds.append(
            Kind(
                name=name,
                level=alike[0].level,
                what=alike[0].what,
                counts=", ".join(counts),
                remedy=alike[0].remedy,
                places=tuple(place for each in alike for place in each.places),
            )
        )
    return kinds


def data_check_lines(report: DataReport, places: int) -> Iterator[str]:
    """The report for a terminal.

    Args:
        report: of a check.
        places: how many of each finding are named.
    """
    yield printable(report.data)
    yield ""
    yield from _splits(report)
    yield ""
    yield from _classes(report)
    for kind in by_kind(report.findings):
        yield ""
        yield from _kind(kind, Path(report.root), places)
    yield ""
    yield from (printable(note) for note in report.notes)
    yield from summary_lines(report)


def summary_lines(report: DataReport) -> Iterator[str]:
    """Sizes, noise and advice: what is to be known of a data set without a flaw too."""
    sizes = report.sizes
    frequent = ", ".join(f"{width} x {height} ({number:,})" for width, height, number in sizes.image_sizes[:3])
    yield f"images    {frequent}{', ...' if len(sizes.image_sizes) > 3 else ''}"
    yield (
        f"objects     at imgsz {sizes.imgsz}: {sizes.small:.0%} small, {sizes.medium:.0%} medium, {sizes.large:.0%} "
        f"large; the median is {sizes.median_side:.0f} pixels large; {sizes.boxes_per_image:.1f} an image"
    )
    if report.noise is not None:
        noise = report.noise
        yield (
            f"noise       mAP50-95 of one configuration differs by {noise.standard_deviation:.3f} from one such val to "
            f"the next; less than {noise.least_difference:.3f} between two cannot be told apart"
        )
    for advice in report.advice:
        yield f"{advice.about:<12}{advice.choice + ': ' if advice.choice else ''}{advice.why}"


def _splits(report: DataReport) -> Iterator[str]:
    yield f"{'split':<8}{'images':>10}{'usable':>10}{'background':>12}{'boxes':>12}"
    for name, facts in report.splits.items():
        yield f"{name:<8}{facts.images:>10,}{facts.usable:>10,}{facts.background:>12,}{facts.boxes:>12,}"


def _classes(report: DataReport) -> Iterator[str]:
    splits = list(report.splits)
    yield f"{'boxes of class':<{_NAME_WIDTH}}" + "".join(f"{split:>10}" for split in splits)
    ordered = sorted(report.classes, key=lambda facts: -sum(facts.boxes.values()))
    for facts in _ends(ordered):
        if facts is None:
            yield f"... {len(ordered) - _CLASSES_SHOWN} classes between ..."
        else:
            name = printable(facts.name)
            name = name if len(name) < _NAME_WIDTH else f"{name[: _NAME_WIDTH - 2]}…"
            yield f"{name:<{_NAME_WIDTH}}" + "".join(f"{facts.boxes[split]:>10,}" for split in splits)


def _ends(ordered: Sequence[ClassFacts]) -> list[ClassFacts | None]:
    """The most and the least frequent classes, and none between where some are left out."""
    if len(ordered) <= _CLASSES_SHOWN:
        return list(ordered)
    half = _CLASSES_SHOWN // 2
    return [*ordered[:half], None, *ordered[-half:]]


def _kind(kind: Kind, root: Path, places: int) -> Iterator[str]:
    yield f"{kind.level.upper():<9}{kind.what}: {kind.counts}"
    for place in kind.places[:places]:
        yield f"         {place_text(place, root)}"
    if len(kind.places) > places:
        yield f"         ... and {len(kind.places) - places:,} more"
    yield f"       → {kind.remedy}"


def place_text(place: Place, root: Path) -> str:
    """Where, what stands there and what it repeats; from the data set's folder on, where it lies in that."""
    where = f"{_short(place.file, root)}:{place.line}" if place.line else _short(place.file, root)
    found = f"  {place.found}" if place.found else ""
    other = f"  as {_short(place.other, root)}" if place.other else ""
    return printable(f"{where}{found}{other}")


def _short(file: str, root: Path) -> str:
    path = Path(file)
    return str(path.relative_to(root)) if path.is_relative_to(root) else file


def next_command(report: DataReport, data: str) -> str:
    """What to type for such a data set: each piece of advice that has a choice, as an option of `tune run`."""
    options = {advice.about: advice.choice for advice in report.advice if advice.choice}
    named = {"space": options.pop("space", "medium_aug"), "data": data, **options}
    return f"tune run {' '.join(f'--{name} {shlex.quote(choice)}' for name, choice in named.items())} --dry-run"
