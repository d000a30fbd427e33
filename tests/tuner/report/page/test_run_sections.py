"""Report the winner, the final run, the data set and the command as recorded, or leave them out."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image as Pillow

from tuner.contract.data_report import (
    ClassFacts,
    DataReport,
    Finding,
    Level,
    Place,
    SizeFacts,
    SplitFacts,
    encode_report,
)
from tuner.report.page.charts.style import PAGE
from tuner.report.page.content import Chart, Details, Image, Table, Text
from tuner.report.page.records.final_run import TRAINING, VALIDATION, run_course
from tuner.report.page.run_sections import run_sections, winner_sections
from tuner.report.page.small_images import small_image
from tuner.study import FinalRunFacts, StudyPaths
from tuner.training.card import make_card

CURVES = Path(__file__).parents[2] / "diagnosis" / "curves"


@pytest.fixture
def final_run(study, winner, paths):
    """Copy the recorded files of a real run to the place of a final run."""
    folder = paths.final_run(1, 20)
    shutil.copytree(CURVES / "healthy", folder)
    (folder / "weights").mkdir()
    (folder / "weights" / "best.pt").write_bytes(b"weights")
    study.record_final_run(
        FinalRunFacts(
            trial=1,
            epochs=20,
            directory=str(folder),
            state="COMPLETE",
            metrics={"mAP50-95": 0.3125},
            checkpoint=str(folder / "weights" / "best.pt"),
        )
    )
    return folder


def drawn(file, size=(900, 600)):
    Pillow.linear_gradient("L").resize(size).convert("RGB").save(file)


def flat(items):
    for item in items:
        yield from flat(item.items) if isinstance(item, Details) else [item]


def items(sections, kind):
    return [item for section in sections for item in flat(section.items) if isinstance(item, kind)]


def rows(spec):
    return [row for data in spec["datasets"].values() for row in data]


def table_of(file):
    with file.open() as lines:
        return [{name.strip(): value for name, value in row.items()} for row in csv.DictReader(lines)]


def test_the_curves_of_the_final_run_are_those_of_its_table(final_run):
    table, course = table_of(final_run / "results.csv"), run_course(final_run)

    def column(name):
        return [float(row[name]) for row in table]

    losses = {(curve.name, curve.split): curve for curve in course.losses}
    assert set(losses) == {(name, split) for name in ("box", "cls", "dfl") for split in (TRAINING, VALIDATION)}
    assert list(losses["box", TRAINING].values) == pytest.approx(column("train/box_loss"))
    assert list(losses["cls", VALIDATION].values) == pytest.approx(column("val/cls_loss"))
    metrics = {curve.name: curve for curve in course.metrics}
    assert list(metrics["mAP50-95"].values) == pytest.approx(column("metrics/mAP50-95(B)"))
    assert list(metrics["recall"].epochs) == [int(row["epoch"]) for row in table]


def test_the_charts_of_the_final_run_have_these_values(study, paths, final_run):
    charts = items(run_sections(study, paths), Chart)
    assert [chart.name for chart in charts] == ["final-run-losses", "final-run-metrics"]
    course = run_course(final_run)
    shown = {row["name"]: row["value"] for row in rows(charts[1].draw(PAGE))}
    assert shown == {curve.name: list(curve.values) for curve in course.metrics}
    json.dumps(charts[0].draw(PAGE), allow_nan=False)


def test_images_of_the_final_run_are_embedded_small_and_described(study, paths, final_run):
    for name in ("confusion_matrix_normalized.png", "BoxPR_curve.png"):
        drawn(final_run / name, (3000, 2250))
    for name in ("val_batch0_pred.jpg", "val_batch0_labels.jpg", "train_batch0.jpg"):
        drawn(final_run / name, (1600, 1600))

    shown = items(run_sections(study, paths), Image)

    assert len(shown) == 5
    for image in shown:
        assert image.alt
        assert max(Pillow.open(io.BytesIO(image.content)).size) <= 800
    assert {image.media_type for image in shown} == {"image/png", "image/jpeg"}


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0broken"])
def test_an_image_that_cannot_be_read_is_left_out(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    assert small_image(tmp_path / "broken.png", 100, alt="broken") is None
    assert small_image(tmp_path / "missing.png", 100, alt="missing") is None


def test_metrics_by_class_are_those_of_the_file(study, paths, final_run):
    (final_run / "class-metrics.csv").write_text("class,images,boxes,mAP50\ndog,10,12,0.5\n<b>cat</b>,3,4,0.25\n")
    tables = items(run_sections(study, paths), Table)
    found = next(table for table in tables if table.header == ("class", "images", "boxes", "mAP50"))
    assert found.rows == (("dog", "10", "12", "0.5"), ("<b>cat</b>", "3", "4", "0.25"))


def test_the_card_shows_the_metrics_of_the_record(study, paths, final_run, scripted_command):
    make_card(study, paths, scripted_command)
    (section,) = winner_sections(study, paths)
    assert section.title == "The detector reaches mAP50-95 0.3125, and takes 5 ms for an image"
    cells = [row for table in items([section], Table) for row in table.rows]
    assert ("mAP50-95", "0.3125") in cells
    assert ("script 1", "scripted", "5 ms", "6.5 ms", "50", "5", "0.0 MB") in cells
    assert ("imgsz", "64") in cells


def test_the_data_set_has_the_counts_of_its_check(study, paths):
    split = SplitFacts(images=1234, usable=1230, background=7, unlabelled=2, boxes=5678)
    found = Finding(
        kind="odd", level=Level.WARNING, split="train", what="odd images", remedy="look", places=(Place(file="a"),) * 3
    )
    sizes = {"small": 0.5, "medium": 0.25, "large": 0.25, "median_side": 40.0, "tiny": 0.0, "boxes_per_image": 1.0}
    report = DataReport(
        data="d.yaml",
        root="/d",
        splits={"train": split},
        classes=(ClassFacts(name="dog", images={"train": 5}, boxes={"train": 99}),),
        sizes=SizeFacts(imgsz=64, image_sizes=((64, 64, 1),), **sizes),
        noise=None,
        findings=(found,),
        notes=(),
        left_out=(),
        advice=(),
        refusal="",
    )
    (paths.root / "data-report.json").write_text(encode_report(report))

    cells = [row for table in items(run_sections(study, paths), Table) for row in table.rows]

    assert ("train", "1,234", "1,230", "7", "2", "5,678") in cells
    assert ("dog", "99") in cells
    assert ("warning", "train", "3 odd images", "look") in cells


def test_without_a_check_the_counts_are_those_of_the_spec(study, paths):
    titles = [section.title for section in run_sections(study, paths)]
    assert titles == ["Data set: 80 train, 20 val images, 6 classes", "How to repeat it"]


def test_the_recorded_command_is_quoted_for_a_shell(study, paths):
    study.record_command(("run", "--space", "my space.yaml", "--study", "s"))
    (command, *_) = items(run_sections(study, paths), Text)
    assert command.content == "tune run --space 'my space.yaml' --study s"


def test_an_unrecorded_command_is_rebuilt_from_the_spec_and_marked_as_such(study, paths):
    *_, section = run_sections(study, paths)
    assert section.items[0].content == "tune run --space small --data sample --model mamba-yolo-n --study s"
    assert section.note.startswith("The command was not recorded")


def test_a_study_without_its_folder_shows_its_record(study, paths, final_run):
    gone = StudyPaths(paths.root.parent / "gone")
    shutil.rmtree(final_run)
    titles = [section.title for section in run_sections(study, gone)]
    assert titles == ["Data set: 80 train, 20 val images, 6 classes", "How to repeat it"]
    assert list(winner_sections(study, gone)) == []
