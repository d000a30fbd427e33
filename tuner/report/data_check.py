"""Put the check of a data set into words."""

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
    """All findings of one kind, over all splits."""

    name: str
    level: Level
    what: str
    counts: str
    """Number of places in each split, in words."""
    remedy: str
    places: tuple[Place, ...]


def by_kind(findings: Sequence[Finding]) -> list[Kind]:
    """Group the findings by kind, in the order of the report."""
    kinds = []
    for name, grouped in groupby(findings, key=lambda finding: finding.kind):
        same_kind = list(grouped)
        counts = [f"{len(each.places):,}{' in ' + each.split if each.split else ''}" for each in same_kind]
        kinds.append(
            Kind(
                name=name,
                level=same_kind[0].level,
                what=same_kind[0].what,
                counts=", ".join(counts),
                remedy=same_kind[0].remedy,
                places=tuple(place for each in same_kind for place in each.places),
            )
        )
    return kinds


def data_check_lines(report: DataReport, places: int) -> Iterator[str]:
    """Yield the lines of a report for a terminal.

    Args:
        report: Report of a check.
        places: Maximum number of places listed for each finding.
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
    """Yield the sizes, the noise and the advice, which also matter for a data set without flaws."""
    sizes = report.sizes
    frequent = ", ".join(f"{width} x {height} ({number:,})" for width, height, number in sizes.image_sizes[:3])
    yield f"images      {frequent}{', ...' if len(sizes.image_sizes) > 3 else ''}"
    yield (
        f"objects     at imgsz {sizes.imgsz}: {sizes.small:.0%} small, {sizes.medium:.0%} medium, {sizes.large:.0%} "
        f"large; median size {sizes.median_side:.0f} pixels; {sizes.boxes_per_image:.1f} per image"
    )
    if report.noise is not None:
        noise = report.noise
        yield (
            f"noise       mAP50-95 of a configuration varies by {noise.standard_deviation:.3f} between val sets like "
            f"this one; differences below {noise.least_difference:.3f} cannot be resolved"
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
            yield f"... {len(ordered) - _CLASSES_SHOWN} more classes ..."
        else:
            name = printable(facts.name)
            name = name if len(name) < _NAME_WIDTH else f"{name[: _NAME_WIDTH - 2]}…"
            yield f"{name:<{_NAME_WIDTH}}" + "".join(f"{facts.boxes[split]:>10,}" for split in splits)


def _ends(ordered: Sequence[ClassFacts]) -> list[ClassFacts | None]:
    """Return the most and the least frequent classes, with None in place of omitted ones."""
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
    """Describe a place: its file and line, its content, and the file that it repeats; relative to `root` if inside."""
    where = f"{_short(place.file, root)}:{place.line}" if place.line else _short(place.file, root)
    found = f"  {place.found}" if place.found else ""
    other = f"  matches {_short(place.other, root)}" if place.other else ""
    return printable(f"{where}{found}{other}")


def _short(file: str, root: Path) -> str:
    path = Path(file)
    return str(path.relative_to(root)) if path.is_relative_to(root) else file


def next_command(report: DataReport, data: str) -> str:
    """Return the suggested command: `tune run` with an option for each piece of advice that has a choice."""
    options = {advice.about: advice.choice for advice in report.advice if advice.choice}
    named = {"space": options.pop("space", "medium_aug"), "data": data, **options}
    return f"tune run {' '.join(f'--{name} {shlex.quote(choice)}' for name, choice in named.items())} --dry-run"
