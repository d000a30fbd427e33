"""Every message of the contract, and lines that are refused."""

import math
import subprocess
import sys
from typing import get_args

import pytest

from tuner.contract import (
    CleanedRecord,
    ContractError,
    DataCheckRequest,
    DeviceCheckRecord,
    DeviceCheckRequest,
    EndRecord,
    EnvironmentRecord,
    EnvironmentRequest,
    EpochRecord,
    Gpu,
    ImageCache,
    Latency,
    MeasuredRecord,
    MeasureRequest,
    Outcome,
    PreparedRecord,
    PrepareRequest,
    PreviewRecord,
    PreviewRequest,
    ProgressRecord,
    Record,
    Request,
    SheetSettings,
    Stage,
    StartedRecord,
    Table,
    TrainRequest,
    UnknownTypeError,
    decode,
    encode,
)

MESSAGES = [
    PrepareRequest(data="sample", model="mamba-yolo-n", directory="/study"),
    TrainRequest(
        study="s",
        trial=3,
        params={"lr0": 0.01, "batch": 16, "cos_lr": True, "optimizer": "SGD"},
        model="m.yaml",
        data="d.yaml",
        epochs=9,
        stop_epoch=9,
        validation_epochs=(3, 9),
        seed=0,
        devices=(0, 1),
        threads=2,
        directory="/study/trials/0003",
        stages=(Stage(last_epoch=5, imgsz=64, batch=8), Stage(last_epoch=9, imgsz=96, batch=4)),
        image_cache_bytes=2**34,
    ),
    PreparedRecord(
        data="d.yaml",
        data_sha256="0" * 64,
        num_classes=6,
        num_images={"train": 600},
        model="m.yaml",
        portable_model="m.pt",
        num_parameters=988530,
        checkpoint_bytes=12_000_000,
        versions={"torch": "2.14.1"},
    ),
    PreparedRecord(
        data="d.yaml",
        data_sha256="0" * 64,
        num_classes=6,
        num_images={"train": 600},
        model="m.yaml",
        portable_model="m.pt",
        num_parameters=988530,
        checkpoint_bytes=12_000_000,
        versions={},
        image_cache=ImageCache(folder="/home/u/.cache/decoded", used_bytes=10, num_images=700, bytes_per_square=1234.5),
    ),
    StartedRecord(pid=42, device="CPU"),
    EpochRecord(
        epoch=1,
        losses={"box": 1.5, "cls": math.inf},
        metrics=None,
        seconds=2.5,
        memory_gib=0.5,
        learning_rate=0.01,
        batch=16,
        checkpoint="/study/trials/0003/weights/last.pt",
    ),
    DataCheckRequest(data="d.yaml", directory="/tmp/x", samples=True, clean_copy="/clean", use_cache=True),
    MeasureRequest(weights="/run/weights/best.pt", imgsz=640, use_gpu=True, threads=2, directory="/tmp/x"),
    MeasuredRecord(
        imgsz=640,
        threads=2,
        num_parameters=988530,
        gflops=None,
        latencies=(
            Latency(
                runtime="torch 2.14.1",
                device="CPU",
                p50_ms=7.5,
                p95_ms=9.0,
                runs=50,
                warm_up_runs=5,
                file_bytes=2_200_000,
            ),
        ),
        notes=("ONNX was not measured",),
    ),
    ProgressRecord(step="images and labels", done=3, total=9),
    CleanedRecord(data="/clean/data.yaml", num_images=7, num_left_out=2, num_rewritten=1, num_rows=3),
    PreviewRequest(
        data="d.yaml",
        directory="/tmp/x",
        out="/looks",
        sheets=(SheetSettings(name="weak", title="weak augmentation", params={"mosaic": 0.5, "rect": False}),),
        images=4,
        draws=5,
        seed=0,
    ),
    PreviewRecord(files=("/looks/weak.jpg",), notes=("weak: copy_paste has no effect",)),
    EnvironmentRequest(directory="/tmp/x"),
    EnvironmentRecord(
        versions={"torch": "2.14.1"},
        gpus=(Gpu(name="A", memory_gib=78.5),),
        cuda="13.0",
        facts={"scan on cpu": "native"},
        problems=("the driver is too old",),
    ),
    DeviceCheckRequest(check="memory", device="cuda:1", small=False, threads=4, directory="/tmp/x"),
    DeviceCheckRecord(
        tables=(
            Table(title="Training", rows=({"model": "mamba-yolo-t", "peak_gib": 3.5, "fits": True}, {"batch": 8})),
        ),
        notes=("not searched",),
        problems=("it computes nonsense",),
    ),
    EndRecord(outcome=Outcome.DIVERGED, message="the loss became NaN in epoch 1, batch 7"),
]


def test_every_type_of_message_is_tested():
    assert {type(message) for message in MESSAGES} == {*get_args(Request), *get_args(Record)}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_every_message_survives_the_pipe_unchanged(message):
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_a_message_is_one_line(message):
    assert "\n" not in encode(message)


def test_nan_survives_the_pipe():
    record = EpochRecord(
        epoch=1,
        losses={"box": math.nan},
        metrics={"mAP50-95": math.nan},
        seconds=1.0,
        memory_gib=math.inf,
        learning_rate=0.01,
        batch=16,
        checkpoint="",
    )
    decoded = decode(encode(record))
    assert decoded.memory_gib == math.inf
    assert math.isnan(decoded.losses["box"])
    assert math.isnan(decoded.metrics["mAP50-95"])


def test_unknown_fields_of_a_newer_trainer_are_ignored():
    line = encode(StartedRecord(pid=1, device="CPU")).replace('"pid":1', '"pid":1,"temperature":40')
    assert decode(line) == StartedRecord(pid=1, device="CPU")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Epoch 1/9 done", "one line of JSON"),
        ("[1, 2]", "must carry version"),
        ('{"version": 2, "type": "started", "pid": 1, "device": ""}', "must carry version 1"),
        ('{"version": 1, "type": "weather"}', "type must be one of"),
        ('{"version": 1, "type": "started", "pid": 1}', "The started record must be complete and valid"),
        ('{"version": 1, "type": "end", "outcome": "fine"}', "The end record must be complete and valid"),
        ('{"version": 1, "type": "previewed", "files": "a.jpg"}', "must be a list, but got 'a.jpg'"),
        ('{"version": 1, "type": "environment_report", "versions": {}, "gpus": ["A"]}', "must be an object"),
    ],
)
def test_a_line_that_is_not_a_record_is_refused_with_the_reason(line, said):
    with pytest.raises(ContractError, match=said):
        decode(line)


def test_an_unknown_type_differs_from_a_broken_line_so_that_a_trainer_can_answer_unsupported():
    with pytest.raises(UnknownTypeError):
        decode('{"version": 1, "type": "weather"}')
    with pytest.raises(ContractError) as raised:
        decode('{"version": 2, "type": "weather"}')
    assert not isinstance(raised.value, UnknownTypeError)


def test_importing_the_contract_pulls_in_neither_side():
    code = (
        "import sys, tuner.contract;"
        "print([m for m in ('ray', 'optuna', 'torch', 'ultralytics', 'trainer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
