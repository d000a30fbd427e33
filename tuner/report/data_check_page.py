"""Render the check of a data set as an HTML page: one file, without scripts or external resources."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tuner.contract.data_report import DataReport, Level, Sample
from tuner.report.data_check import Kind, by_kind, place_text

_PLACES_SHOWN = 200
_CLASSES_SHOWN = 200


def data_check_page(report: DataReport) -> str:
    """Return the HTML page; all text from the data set is escaped."""
    # Autoescape for every template, because a class or a file may be named like a tag.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    root, kinds = Path(report.root), by_kind(report.findings)
    ordered = sorted(report.classes, key=lambda facts: -sum(facts.boxes.values()))

    def samples(kind: Kind) -> list[Sample]:
        return [each for each in report.samples if each.kind == kind.name]

    return environment.get_template("data_check.html.j2").render(
        report=report,
        kinds=kinds,
        counts={level: sum(kind.level == level for kind in kinds) for level in Level},
        classes=ordered[:_CLASSES_SHOWN],
        num_classes_left=max(len(ordered) - _CLASSES_SHOWN, 0),
        most_boxes=max((sum(facts.boxes.values()) for facts in ordered), default=0) or 1,
        samples=samples,
        place_text=lambda place: place_text(place, root),
        places_shown=_PLACES_SHOWN,
    )
