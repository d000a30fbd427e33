"""Read tables of other trainers, versions and tasks by their columns, and never call them normal by mistake."""

import pytest

from tests.tuner.diagnosis.conftest import BOXES, MASKS, POSES, columns
from tuner.diagnosis import Condition, diagnose, read_run
from tuner.diagnosis.columns import Task
from tuner.report.diagnosis import diagnosis_facts, diagnosis_lines

V10 = ("box_om", "cls_om", "dfl_om", "box_oo", "cls_oo", "dfl_oo")
YOLOV5 = ("precision", "recall", "mAP_0.5", "mAP_0.5:0.95")
YOLOV5_RATES = ("x/lr0", "x/lr1", "x/lr2")
PLAIN = columns(("box", "cls", "dfl"))
DETECTORS = {
    "YOLOv8, YOLO11, YOLO-World": PLAIN,
    "YOLO of ultralytics 8.3 and later": ["epoch", "time", *PLAIN[1:]],
    "YOLO26": columns(("box", "cls", "l1")),
    "YOLOE": columns(("box", "cls", "dfl"), suffix=""),
    "YOLOv10": columns(V10, suffix=""),
    "RT-DETR": columns(("giou", "cls", "l1")),
    "YOLOv5": columns(("box", "obj", "cls"), YOLOV5, rates=YOLOV5_RATES),
    "YOLOv9 of its own": columns(("box", "cls", "dfl"), YOLOV5, rates=YOLOV5_RATES),
    "as pandas writes it again": ["", *PLAIN],
}


@pytest.mark.parametrize("kind", DETECTORS)
def test_every_detector_is_judged_by_its_own_losses(written, kind):
    names = DETECTORS[kind]
    found = diagnose(written(names))
    assert (found.condition, found.unknown) == (Condition.NORMAL, ())
    assert found.grade.metrics["mAP50"] == pytest.approx(0.68, abs=0.05)
    assert "training loss from" in "\n".join(diagnosis_lines(found))


@pytest.mark.parametrize("kind", DETECTORS)
def test_every_detector_whose_losses_become_nan_has_diverged(written, kind):
    names = DETECTORS[kind]
    bad = [name for name in names if name.startswith(("train/", "val/"))]
    found = diagnose(written(names, changed=dict.fromkeys(bad, lambda epoch: "nan" if epoch >= 40 else None)))
    assert (found.condition, found.findings[0].epochs) == (Condition.DIVERGED, (40, 60))


@pytest.mark.parametrize("kind", DETECTORS)
def test_every_detector_that_stops_finding_objects_has_diverged(written, kind):
    names = DETECTORS[kind]
    lost = [name for name in names if name.startswith("metrics/")]
    found = diagnose(written(names, changed=dict.fromkeys(lost, lambda epoch: 0 if epoch >= 40 else None)))
    assert (found.condition, found.findings[0].epochs) == (Condition.DIVERGED, (40, 60))
    assert "mAP50 fell from 0." in found.findings[0].evidence


@pytest.mark.parametrize(
    ("kind", "box"), [("YOLO26", 1.0), ("YOLOv10", 1.0), ("YOLOE", 1.0), ("RT-DETR", None), ("YOLOv5", None)]
)
def test_the_guides_box_loss_is_not_compared_with_another_one(written, kind, box):
    found = diagnosis_facts(diagnose(written(DETECTORS[kind], epochs=55)))["phase"]
    assert found["box_loss"] == (box and pytest.approx(box, abs=0.1))


@pytest.mark.parametrize(
    ("names", "unknown"),
    [
        (columns(("box", "cls", "dfl", "kd")), "train/kd_loss, val/kd_loss: unrecognised columns"),
        (columns(("box", "cls")), "part of the training loss: train/dfl_loss is missing"),
        (columns(V10[:-1], suffix=""), "part of the training loss: train/dfl_oo is missing"),
        (columns(("giou", "cls")), "part of the training loss: train/l1_loss is missing"),
        (columns(("sinkhorn", "focal")), "the training loss: no column holds a known loss"),
        ([name for name in PLAIN if not name.startswith("val/")], "the validation loss: no column holds a known loss"),
        ([name for name in PLAIN if name != "val/cls_loss"], "part of the validation loss: val/cls_loss is missing"),
        (columns(("box", "cls", "dfl"), BOXES[:2]), "mAP50: the column is missing"),
        (columns(("box", "cls", "dfl"), (*BOXES, "mAP75(B)")), "metrics/mAP75(B): unrecognised column"),
        ([*PLAIN, "gate"], "gate: unrecognised column"),
    ],
)
def test_missing_columns_are_named_and_nothing_is_called_normal(written, names, unknown):
    found = diagnose(written(names))
    assert (found.condition, found.learning) == (Condition.NOT_JUDGED, Condition.NOT_JUDGED)
    assert unknown in found.unknown
    told = diagnosis_lines(found)
    assert f"unknown   {unknown}" in told
    assert not any(line.startswith("NORMAL") for line in told)


def test_a_column_without_a_value_is_missing(written):
    found = diagnose(written(PLAIN, changed={"val/dfl_loss": lambda _: ""}))
    assert found.unknown == ("part of the validation loss: val/dfl_loss is missing",)


def test_validation_losses_that_are_0_throughout_were_not_computed(written):
    zeros = {name: lambda _: 0 for name in PLAIN if name.startswith("val/")}
    found = diagnose(written(PLAIN, changed=zeros))
    assert found.condition is Condition.NOT_JUDGED
    assert found.unknown == ("the validation loss: it is 0 in every epoch",)


def test_training_losses_that_are_0_throughout_were_not_computed(written):
    zeros = {name: lambda _: 0 for name in PLAIN if name.startswith("train/")}
    found = diagnose(written(PLAIN, changed=zeros))
    assert found.condition is Condition.NOT_JUDGED
    assert found.unknown == ("the training loss: it is 0 in every epoch",)


@pytest.mark.parametrize("kind", ["YOLOv5", "YOLOv10"])
def test_metrics_in_percent_have_no_mark(written, kind):
    names = DETECTORS[kind]
    percent = {name: lambda epoch: epoch for name in names if name.startswith("metrics/")}
    found = diagnose(written(names, changed=percent))
    assert (found.condition, found.grade) == (Condition.NOT_JUDGED, None)
    assert "the metrics: they must be between 0 and 1, but reach 60" in found.unknown


def test_an_epoch_without_a_row_is_reported(tmp_path, written):
    written(PLAIN)
    lines = (tmp_path / "results.csv").read_text().splitlines()
    (tmp_path / "results.csv").write_text("\n".join([*lines[:20], *lines[22:]]) + "\n")
    found = diagnose(read_run(tmp_path))
    assert found.condition is Condition.NORMAL
    assert found.notes == (
        "results.csv has no row for epoch 20, 21; ultralytics writes no row for an epoch lost to NaN",
    )


@pytest.mark.parametrize("column", ["train/kd_loss", "train/box_loss"])
def test_a_loss_that_is_not_a_number_is_divergence_even_in_an_unknown_column(written, column):
    names = columns(("box", "cls", "dfl", "kd"))
    found = diagnose(written(names, changed={column: lambda epoch: "nan" if epoch >= 30 else None}))
    assert found.condition is Condition.DIVERGED
    assert found.unknown


TASKS = {
    "segment": (columns(("box", "seg", "cls", "dfl"), (*BOXES, *MASKS)), Task.SEGMENT, "mask mAP50-95"),
    "segment 8.4": (columns(("box", "seg", "cls", "dfl", "sem"), (*BOXES, *MASKS)), Task.SEGMENT, "mask mAP50-95"),
    "YOLOE segment": (
        columns(("box", "seg", "cls", "dfl"), (*BOXES, *MASKS), suffix=""),
        Task.SEGMENT,
        "mask mAP50-95",
    ),
    "YOLOv5 segment": (
        columns(
            ("box", "seg", "obj", "cls"),
            tuple(f"{name}({mark})" for mark in "BM" for name in YOLOV5),
            rates=YOLOV5_RATES,
        ),
        Task.SEGMENT,
        "mask mAP50-95",
    ),
    "pose": (columns(("box", "pose", "kobj", "cls", "dfl"), (*BOXES, *POSES)), Task.POSE, "pose mAP50-95"),
    "pose of YOLO26": (
        columns(("box", "pose", "kobj", "cls", "l1", "rle"), (*BOXES, *POSES)),
        Task.POSE,
        "pose mAP50-95",
    ),
    "rotated boxes": (columns(("box", "cls", "dfl", "angle")), Task.OBB, "box mAP50-95"),
    "classify": (columns(("loss",), ("accuracy_top1", "accuracy_top5"), suffix=""), Task.CLASSIFY, "top-1 accuracy"),
    "semantic": (columns(("ce", "dice", "aux"), ("mIoU", "pixel_acc")), Task.SEMANTIC, "mIoU"),
}


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("arguments", [None, "epochs: 60\n"])
def test_another_task_is_reported_by_its_own_metric_and_has_neither_mark_nor_phase(written, kind, arguments):
    names, task, metric = TASKS[kind]
    found = diagnose(written(names, arguments=arguments))
    assert (found.run.columns.task, found.condition, found.unknown) == (task, Condition.NOT_JUDGED, ())
    assert (found.grade, found.standing) == (None, None)
    told = "\n".join(diagnosis_lines(found))
    assert f"result    {metric} 0." in told
    assert f"the task is {task}, and the other rules are for detectors" in told


@pytest.mark.parametrize("kind", TASKS)
def test_a_run_of_another_task_diverges_as_any_other(written, kind):
    names, *_ = TASKS[kind]
    bad = [name for name in names if name.startswith("train/")]
    found = diagnose(written(names, changed=dict.fromkeys(bad, lambda epoch: "nan" if epoch >= 40 else None)))
    assert (found.condition, found.grade) == (Condition.DIVERGED, None)


@pytest.mark.parametrize(
    "arguments", ["task: obb\n", "model: yolo11n-obb.pt\n", "model: yolov8s-obb.yaml\nepochs: 60\n"]
)
def test_rotated_boxes_with_a_detectors_columns_are_recognised_by_the_runs_arguments(written, arguments):
    found = diagnose(written(PLAIN, arguments=arguments))
    assert (found.run.columns.task, found.grade, found.condition) == (Task.OBB, None, Condition.NOT_JUDGED)


# Remedies in the trainer's terms


def exploding(names):
    bad = [name for name in names if name.startswith("train/")]
    return dict.fromkeys(bad, lambda epoch: "inf" if epoch >= 40 else None)


@pytest.mark.parametrize("kind", ["YOLOv5", "YOLOv9 of its own"])
def test_no_change_is_proposed_for_a_trainer_with_its_own_arguments(written, kind):
    found = diagnose(written(DETECTORS[kind], changed=exploding(DETECTORS[kind]), arguments=None))
    assert (found.condition, dict(found.changes)) == (Condition.DIVERGED, {})
    assert any("this trainer has its own arguments" in note for note in found.notes)


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ("optimizer: auto\nlr0: 0.01\n", {"optimizer": "AdamW", "lr0": 0.0001, "warmup_epochs": 5, "amp": False}),
        ("optimizer: SGD\nlr0: 0.01\n", {"optimizer": "AdamW", "lr0": 0.0001, "warmup_epochs": 5, "amp": False}),
        ("optimizer: AdamW\nlr0: 0.0001\namp: false\n", {"lr0": 1e-05, "warmup_epochs": 5}),
    ],
)
def test_rt_detr_gets_the_learning_rates_of_a_transformer(written, arguments, changes):
    names = DETECTORS["RT-DETR"]
    assert dict(diagnose(written(names, changed=exploding(names), arguments=arguments)).changes) == changes
