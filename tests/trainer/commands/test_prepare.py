"""Preparing a study: one process at a time writes its files, and COCO JSON trains like YOLO labels."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import hear_all
from tests.support.coco_json import coco_of, put_json
from trainer.commands import prepare
from trainer.data.dataset import resolve
from trainer.exceptions import DeviceError
from trainer.nn import selective_scan
from trainer.system import atomic_files
from tuner.contract import COMPILE_STEP, EpochRecord, Outcome, PreparedRecord, PrepareRequest, ProgressRecord


def test_two_trainers_do_not_prepare_the_same_study_at_once(tmp_path):
    request = PrepareRequest(data=str(tmp_path / "none.yaml"), model="mamba-yolo-n", directory=str(tmp_path))
    ends = []
    second = threading.Thread(target=lambda: ends.append(prepare.run(request, lambda record: None)))
    with atomic_files.held(Path(request.directory) / "prepare.log"):
        second.start()
        second.join(0.5)
        assert ends == []
    second.join(30)
    assert [end.outcome for end in ends] == [Outcome.BAD_DATA]


@pytest.fixture
def coco_folder(data_yaml, tmp_path):
    """Convert the tiny data set to the layout of COCO."""
    dataset = resolve(data_yaml)
    for split in ("train", "val"):
        content = coco_of(dataset.splits[split].images, dataset.names, tmp_path / f"coco/{split}2017")
        put_json(tmp_path / f"coco/annotations/instances_{split}2017.json", content)
    return tmp_path / "coco"


def prepare_at(trainer, data, directory):
    directory.mkdir()
    trainer.send(PrepareRequest(data=str(data), model="mamba-yolo-n", directory=str(directory)))
    records = hear_all(trainer)
    found = [record for record in records if isinstance(record, PreparedRecord)]
    assert found, records
    return found[0]


def losses_of(trainer, request):
    trainer.send(request)
    records = hear_all(trainer)
    epochs = [record for record in records if isinstance(record, EpochRecord)]
    assert epochs, records
    return epochs[-1]


def test_coco_json_trains_like_the_same_labels_in_yolo_format(trainer, coco_folder, prepared, make_request, tmp_path):
    study = tmp_path / "study"
    of_coco = prepare_at(trainer, coco_folder, study)
    assert (of_coco.num_images, of_coco.num_classes) == (prepared.num_images, prepared.num_classes)
    assert Path(of_coco.data) == study / "data.yaml"
    assert (study / "data.train.txt").read_text().startswith("./coco/images/train/")
    assert of_coco.notes == prepared.notes
    trained = [
        losses_of(trainer, replace(make_request(tmp_path / name, epochs=1, validation_epochs=(1,)), data=data))
        for name, data in (("yolo", prepared.data), ("coco", of_coco.data))
    ]
    assert trained[1].losses == pytest.approx(trained[0].losses, rel=1e-3)
    assert trained[1].metrics == pytest.approx(trained[0].metrics, abs=1e-3)


def test_changed_coco_json_is_another_data_set_and_a_moved_one_is_not(trainer, coco_folder, tmp_path):
    first = prepare_at(trainer, coco_folder / "annotations/instances_train2017.json", tmp_path / "first")
    moved = coco_folder.rename(tmp_path / "moved")
    second = prepare_at(trainer, moved, tmp_path / "second")
    assert second.data_sha256 == first.data_sha256
    file = moved / "annotations/instances_val2017.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"][2] /= 2
    file.write_text(json.dumps(content))
    assert prepare_at(trainer, moved, tmp_path / "third").data_sha256 != first.data_sha256


class Gpus:
    """Visible GPUs with these names, and the scans that were tried on them."""

    def __init__(self, monkeypatch, names, error=None):
        self.tried = []

        def scan_on(device):
            self.tried.append(device)
            if error is not None:
                raise error
            return "triton"

        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: names[index])
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
        monkeypatch.setattr(selective_scan, "scan_on", scan_on)


def prepare_here(tmp_path, data_yaml, *, gpus=True, model="mamba-yolo-n"):
    records = []
    request = PrepareRequest(data=str(data_yaml), model=model, directory=str(tmp_path), gpus=gpus)
    assert prepare.run(request, records.append).outcome == Outcome.COMPLETED
    assert isinstance(records[-1], PreparedRecord)
    return [record for record in records if isinstance(record, ProgressRecord)]


def test_the_scan_is_compiled_once_for_each_kind_of_gpu(monkeypatch, tmp_path, data_yaml):
    gpus = Gpus(monkeypatch, ["H100", "H100", "L4"])
    assert prepare_here(tmp_path, data_yaml) == [
        ProgressRecord(step=COMPILE_STEP, done=0, total=2),
        ProgressRecord(step=COMPILE_STEP, done=1, total=2),
    ]
    assert gpus.tried == ["cuda:0", "cuda:2"]


@pytest.mark.parametrize(
    ("names", "options"),
    [([], {}), (["H100"], {"gpus": False}), (["H100"], {"model": "yolov8n.yaml"})],
    ids=["no GPU", "trials on the CPU", "a model without scans"],
)
def test_only_what_a_trial_needs_is_compiled(monkeypatch, tmp_path, data_yaml, names, options):
    gpus = Gpus(monkeypatch, names)
    assert prepare_here(tmp_path, data_yaml, **options) == []
    assert gpus.tried == []


@pytest.mark.parametrize("error", [DeviceError("no scan works"), RuntimeError("CUDA error: out of memory")])
def test_a_gpu_that_does_not_work_now_does_not_end_the_preparation(monkeypatch, tmp_path, data_yaml, caplog, error):
    Gpus(monkeypatch, ["H100"], error)
    prepare_here(tmp_path, data_yaml)
    assert "cannot be compiled for GPU 0" in caplog.text
