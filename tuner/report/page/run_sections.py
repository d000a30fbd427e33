"""Arrange what a report says about the winner, its final run, the data set, and how to repeat the study."""

import csv
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tuner.contract.data_report import DataReport, Finding
from tuner.contract.run_folder import CLASS_METRICS
from tuner.report.card import LATENCY_HEADER, card_notes, card_rows, image_size, latency_rows
from tuner.report.page.charts.run_charts import run_chart
from tuner.report.page.content import Chart, Details, Image, Item, Paragraph, Section, Table, Text
from tuner.report.page.notices import written_at
from tuner.report.page.records.final_run import RunCourse, run_course
from tuner.report.page.records.provenance import command_of, data_report_of, text_of, versions_now, versions_of
from tuner.report.page.small_images import small_image
from tuner.study import FinalRunFacts, ReadableStudy, StudyPaths
from tuner.training.card import WinnersCard, read_card

_DIAGRAM_WIDTH, _PHOTO_WIDTH, _SHEET_WIDTH = 800, 640, 480
"""Widths of embedded images in pixels: they keep a report below a few megabytes."""

_MOST_CLASSES = 100
_MOST_FINDINGS = 30


def winner_sections(study: ReadableStudy, paths: StudyPaths) -> Iterator[Section]:
    """Yield the winner's card, if it was made."""
    card = read_card(study, paths)
    if card is None:
        return
    parameters = Table(
        header=("parameter", "value"),
        rows=tuple((name, str(value)) for name, value in sorted(card.params.items())),
    )
    yield Section(
        title=_card_title(card, study.spec.metric),
        note=f"Trial {card.trial}, trained for {card.epochs} epochs. Metrics are those on the validation split. "
        "Latency is that of the network alone, measured on the machine of the run: without loading and scaling the "
        "image, and without filtering the boxes.",
        items=(
            Table(header=("", "value"), rows=(*card_rows(card), ("weights", card.weights)), title="best.pt"),
            Table(
                header=LATENCY_HEADER,
                rows=tuple(latency_rows(card)),
                numbers=frozenset({2, 3, 4, 5, 6}),
                title=f"Latency for one image of {image_size(card)}",
            ),
            *(Paragraph(text=note) for note in card_notes(card)),
            Details(summary=f"Parameters ({len(card.params)})", items=(parameters,)),
        ),
    )


def _card_title(card: WinnersCard, metric: str) -> str:
    reached = f"reaches {metric} {card.metrics[metric]:.4f}" if metric in card.metrics else "is trained"
    fastest_ms = min((latency.p50_ms for latency in card.measured.latencies), default=None)
    return f"The detector {reached}{'' if fastest_ms is None else f', and takes {fastest_ms:.3g} ms for an image'}"


def run_sections(study: ReadableStudy, paths: StudyPaths) -> Iterator[Section]:
    """Yield the final run, the data set and how to repeat the study, as far as they are recorded."""
    run = study.final_run
    if run is not None:
        yield from _final_run(run)
    yield _data(study, data_report_of(paths), None if run is None else Path(run.directory))
    yield _repeat(study, paths)


def _final_run(run: FinalRunFacts) -> Iterator[Section]:
    folder = Path(run.directory)
    course = run_course(folder)
    items = [*_course(course), *_class_metrics(folder), *_drawn(folder)]
    if items:
        trained = "" if course is None else f", {course.last_epoch} of {run.epochs} epochs"
        note = f"The final run of trial {run.trial}{trained}. Its images were drawn by ultralytics."
        yield Section(title="Final run", note=note, items=tuple(items))


def _course(course: RunCourse | None) -> Iterator[Chart]:
    if course is None:
        return
    for name, title, curves in (("losses", "Losses", course.losses), ("metrics", "Metrics", course.metrics)):
        if curves:
            yield Chart(
                name=f"final-run-{name}",
                title=title,
                draw=partial(run_chart, curves),
                description=f"{title} of the final run by epoch: {', '.join(dict.fromkeys(c.name for c in curves))}",
            )


def _class_metrics(folder: Path) -> Iterator[Item]:
    try:
        rows = list(csv.reader(text_of(folder / CLASS_METRICS).splitlines()))
    except csv.Error:
        return
    if len(rows) < 2:
        return
    header, *classes = (tuple(row) for row in rows)
    table = Table(
        header=header,
        rows=tuple(classes[:_MOST_CLASSES]),
        numbers=frozenset(range(1, len(header))),
        title="Metrics of best.pt by class, on the validation split",
    )
    yield table if len(classes) <= 20 else Details(summary=f"Metrics by class ({len(classes)} classes)", items=(table,))


def _drawn(folder: Path) -> Iterator[Item]:
    """Yield ultralytics' images of the final run, those that most readers want first."""
    confusion = small_image(
        folder / "confusion_matrix_normalized.png",
        _DIAGRAM_WIDTH,
        alt="Confusion matrix: for each true class, the share of boxes predicted as each class or missed",
        caption="Confusion matrix of best.pt, each column in shares of the true class",
    )
    predicted = small_image(
        folder / "val_batch0_pred.jpg",
        _PHOTO_WIDTH,
        alt="Validation images with the boxes that best.pt predicts, their classes and confidences",
        caption="Predictions on validation images",
    )
    labelled = small_image(
        folder / "val_batch0_labels.jpg",
        _PHOTO_WIDTH,
        alt="The same validation images with their labels",
        caption="Labels of the same images",
    )
    precision_recall = small_image(
        folder / "BoxPR_curve.png",
        _DIAGRAM_WIDTH,
        alt="Precision over recall for each class, at an overlap of 0.5",
        caption="Precision over recall at an overlap (IoU) of 0.5",
    )
    yield from (image for image in (confusion, precision_recall) if image is not None)
    pair = tuple(image for image in (predicted, labelled) if image is not None)
    if pair:
        yield Details(summary="Predictions and labels on validation images", items=pair)


def _data(study: ReadableStudy, report: DataReport | None, final_run: Path | None) -> Section:
    spec = study.spec
    images = ", ".join(f"{number:,} {split}" for split, number in spec.num_images.items())
    items: list[Item] = []
    if report is not None:
        items += [_splits(report), *_findings(report)]
    items += [] if final_run is None else _augmented(final_run)
    return Section(
        title=f"Data set: {images} images, {spec.num_classes} classes",
        note=f"{spec.data}, SHA-256 {spec.data_sha256}",
        items=tuple(items),
    )


def _splits(report: DataReport) -> Table:
    columns = ("images", "usable", "background", "unlabelled", "boxes")
    return Table(
        header=("split", "images", "usable", "background", "without label file", "boxes"),
        rows=tuple(
            (split, *(f"{getattr(facts, column):,}" for column in columns)) for split, facts in report.splits.items()
        ),
        numbers=frozenset(range(1, 6)),
        title="Content, as checked at the start of the study",
    )


def _findings(report: DataReport) -> Iterator[Item]:
    if report.classes:
        splits = tuple(report.splits)
        rows = tuple((c.name, *(f"{c.boxes.get(split, 0):,}" for split in splits)) for c in report.classes)
        yield Details(
            summary=f"Boxes by class ({len(rows)} classes)",
            items=(
                Table(
                    header=("class", *splits), rows=rows[:_MOST_CLASSES], numbers=frozenset(range(1, len(splits) + 1))
                ),
            ),
        )
    if not report.findings:
        yield Paragraph(text="The data check found no problems.")
        return
    found = tuple(
        (finding.level.value, finding.split, _counted(finding), finding.remedy)
        for finding in report.findings[:_MOST_FINDINGS]
    )
    table = Table(header=("level", "split", "what", "remedy"), rows=found)
    yield Details(summary=f"Findings of the data check ({len(report.findings)})", items=(table,))


def _counted(finding: Finding) -> str:
    number = len(finding.places)
    return finding.what if number == 1 else f"{number:,} {finding.what}"


def _augmented(folder: Path) -> Iterator[Details]:
    sheets: list[Image] = []
    for number in range(3):
        image = small_image(
            folder / f"train_batch{number}.jpg",
            _SHEET_WIDTH,
            alt=f"Batch {number + 1} of augmented training images with their boxes",
        )
        sheets += [] if image is None else [image]
    if sheets:
        yield Details(summary="Training images as the final run augmented them", items=tuple(sheets))


def _repeat(study: ReadableStudy, paths: StudyPaths) -> Section:
    params = text_of(paths.params)
    items: list[Item] = [
        Text(content=command_of(study), title="Command of the search"),
        _versions({"trained with": versions_of(study.spec), "report written by": versions_now()}),
        Paragraph(text=f"This report was written at {written_at(datetime.now(UTC))}."),
    ]
    if params:
        items.append(Text(content=params, title="params.yaml"))
        train = shlex.join(["yolo", "train", f"cfg={paths.params}"])
        items.append(Text(content=train, title="Train the winner again with plain ultralytics"))
    note = ""
    if not study.command:
        note = "The command was not recorded; this one names the space, the data set and the model of the study."
    return Section(title="How to repeat it", note=note, items=tuple(items))


def _versions(by_origin: Mapping[str, Mapping[str, str]]) -> Table:
    rows = [(origin, name, version) for origin, versions in by_origin.items() for name, version in versions.items()]
    return Table(header=("", "package", "version"), rows=tuple(rows), title="Versions")
