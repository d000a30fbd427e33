"""The detectors that can be trained here, by name, by file and by checkpoint."""

import io
import sys
import types
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import ultralytics

from trainer.ultralytics_bridge import environment

environment.configure()

from ultralytics.nn import tasks  # noqa: E402 - only after the environment is set

from tests.conftest import hear_all  # noqa: E402
from trainer.exceptions import ModelError  # noqa: E402
from trainer.models import MODEL_NAMES, model_yaml  # noqa: E402
from trainer.ultralytics_bridge import heads, models  # noqa: E402
from tuner.contract import EndRecord, EpochRecord, Outcome  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

SHIPPED = sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
OTHERS = {
    "-cls": "classification",
    "-sem": "semantic segmentation",
    "yoloe": "YOLOE",
    "-seg": "segmentation",
    "-pose": "pose estimation",
    "-obb": "oriented bounding boxes",
    "-depth": "depth estimation",
    "rtdetr": "RT-DETR",
    "-world": "YOLO-World",
}
"""Words of the message, by a part of the file's name."""
SMALLEST = ["yolov3-tiny", "yolov5n", "yolov6n", "yolov8n", "yolov8n-p6", "yolov9t", "yolov10n", "yolo11n", "yolo26n"]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_model_of_ultralytics_passes_as_a_detector_or_is_refused_by_what_it_is_for(file):
    layers = tasks.yaml_model_load(file.name)
    purpose = next((word for part, word in OTHERS.items() if part in file.stem), None)
    if purpose is None:
        heads.check(layers, file.name)
        return
    with pytest.raises(ModelError, match=f"but '{file.name}' ends with .*{purpose}.*; choose a detection model"):
        heads.check(layers, file.name)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_our_own_models_are_detectors(name):
    heads.check(tasks.yaml_model_load(model_yaml(name)), name)


@pytest.mark.parametrize("name", SMALLEST)
def test_a_detector_of_each_family_builds_and_learns_from_boxes(name):
    model = tasks.DetectionModel(f"{name}.yaml", nc=3, verbose=False)
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, epochs=1, cls_pw=0.0)
    boxes = {"cls": torch.tensor([[0.0], [2.0]]), "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.6], [0.3, 0.6, 0.2, 0.2]])}
    loss, _ = model.train().loss({"img": torch.rand(2, 3, 64, 64), "batch_idx": torch.tensor([0.0, 1.0]), **boxes})
    loss.sum().backward()
    assert loss.isfinite().all()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("OBB", "OBB, the layer for oriented bounding boxes"),
        ("Pose", "Pose, the layer for pose estimation"),
        ("Segment", "Segment, the layer for segmentation"),
        ("RTDETRDecoder", "RTDETRDecoder, the layer for RT-DETR"),
        ("nn.Flatten", "Flatten; choose"),
    ],
)
def test_a_users_own_file_is_judged_by_its_last_layer_whatever_its_name(tmp_path, last, told):
    file = tmp_path / "detector.yaml"
    file.write_text(
        "nc: 80\nbackbone:\n  - [-1, 1, Conv, [16, 3, 2]]\n"
        f"head:\n  - [-1, 1, Conv, [16]]\n  - [[1], 1, {last}, [nc]]\n"
    )
    with pytest.raises(ModelError, match=told):
        models.count_parameters(models.locate(str(file)), 3)


def saved(folder: Path, model: torch.nn.Module) -> str:
    file = folder / "best.pt"
    torch.save({"epoch": -1, "model": model, "train_args": {}, "version": ultralytics.__version__}, file)
    return str(file)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: tasks.OBBModel("yolov8n-obb.yaml", verbose=False), "OBB, the layer for oriented bounding boxes"),
        (lambda: tasks.PoseModel("yolo11n-pose.yaml", verbose=False), "Pose, the layer for pose estimation"),
        (lambda: tasks.SegmentationModel("yolo26n-seg.yaml", verbose=False), "Segment26, the layer for segmentation"),
        (
            lambda: tasks.ClassificationModel("yolov8n-cls.yaml", verbose=False),
            "Classify, the layer for classification",
        ),
    ],
    ids=["obb", "pose", "segment", "classify"],
)
def test_a_checkpoint_of_another_task_is_refused_whatever_its_name(tmp_path, make, told):
    with pytest.raises(ModelError, match=told):
        models.count_parameters(saved(tmp_path, make()), 3)


def pickled(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


FOREIGN = {
    "the weights alone": (pickled({"conv.weight": torch.zeros(3)}), "it has weights without their model"),
    "of Lightning": (pickled({"state_dict": {"a": torch.zeros(3)}}), "it has weights without their model"),
    "ONNX": (b"\x08\x07\x12\x07pytorch" + b"0" * 5000, "it was not saved by PyTorch"),
    "an archive": (b"PK\x05\x06" + bytes(18), "cannot be loaded"),
    "nothing": (b"", "it is empty"),
    "cut off": (pickled({"conv.weight": torch.zeros(50_000)})[:100_000], "it is truncated"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_checkpoint_of_something_else_is_refused_in_one_line_that_says_what_it_is(tmp_path, kind):
    content, told = FOREIGN[kind]
    file = tmp_path / "best.pt"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=told) as caught:
        models.count_parameters(str(file), 3)
    assert len(str(caught.value).splitlines()) == 1
    assert "ultralytics.com" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("package", ["models.yolo", "yolov6.models.yolo"])
def test_a_checkpoint_of_yolov5s_own_code_or_similar_is_reported_as_such(tmp_path, monkeypatch, package):
    module = types.ModuleType(package)
    made = type("DetectionModel", (), {"__module__": package})
    module.DetectionModel = made
    for depth in range(1, len(package.split(".")) + 1):
        name = ".".join(package.split(".")[:depth])
        monkeypatch.setitem(sys.modules, name, module if name == package else types.ModuleType(name))
    file = tmp_path / "yolov5s.pt"
    file.write_bytes(pickled({"model": made()}))
    with pytest.raises(ModelError, match=f"it comes from other code and contains '{package}.DetectionModel'"):
        models.count_parameters(str(file), 3)


@pytest.mark.parametrize("name", ["yolov5n.pt", "yolov3.pt", "it's mine.pt"])
def test_a_checkpoint_is_read_under_the_name_that_it_has(tmp_path, name):
    file = Path(saved(tmp_path, tasks.DetectionModel("yolov8n.yaml", verbose=False))).rename(tmp_path / name)
    assert models.count_parameters(str(file), 80) > 3_000_000


@pytest.mark.slow
@pytest.mark.parametrize("model", ["yolov10n.yaml", "yolo26n.yaml", "yolov9t.yaml"])
def test_detectors_with_other_losses_and_without_nms_train_and_are_validated(trainer, make_request, tmp_path, model):
    trainer.send(replace(make_request(tmp_path / "run"), model=model))
    records = hear_all(trainer)
    epochs = [record for record in records if isinstance(record, EpochRecord)]
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert epochs[-1].metrics is not None
    assert isinstance(records[-1], EndRecord)
    assert records[-1].outcome == Outcome.COMPLETED
