"""Real training of one configuration through the real fork server, on the CPU."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import epochs_of, hear_all, users_environment
from tuner.contract import EndRecord, Outcome, PrepareRequest, StartedRecord, decode


def yaml_of(file):
    return YAML(typ="safe").load(file)


def end_in_folder(request):
    """Return the end that is recorded in the run's folder; None if there is none."""
    file = Path(request.directory) / "end.json"
    return decode(file.read_text()) if file.exists() else None


def test_a_trial_sends_one_record_an_epoch_and_none_after_the_last(trainer, train_request):
    trainer.send(train_request(epochs=2))
    records = hear_all(trainer)
    assert isinstance(records[0], StartedRecord)
    assert [record.epoch for record in epochs_of(records)] == [1, 2]
    assert records[-1].outcome == Outcome.COMPLETED


def test_only_the_requested_epochs_and_the_last_are_validated(trainer, train_request):
    trainer.send(train_request(epochs=3, validation_epochs=(2,)))
    metrics = [record.metrics for record in epochs_of(hear_all(trainer))]
    assert metrics[0] is None
    assert set(metrics[1]) == set(metrics[2]) == {"mAP50-95", "mAP50", "precision", "recall"}


def test_an_epoch_record_says_what_ran(trainer, train_request):
    trainer.send(train_request(epochs=1))
    (record,) = epochs_of(hear_all(trainer))
    assert record.batch == 8
    assert record.scan in ("native", "torch")
    assert set(record.losses) == {"box", "cls", "dfl"}
    assert all(math.isfinite(loss) for loss in record.losses.values())
    assert record.seconds > 0
    assert record.memory_gib > 0.1
    assert Path(record.checkpoint).is_file()


def test_a_request_for_few_images_trains_on_these_alone(trainer, train_request):
    request = replace(train_request(epochs=1), max_images=3)
    trainer.send(request)
    (record,) = epochs_of(hear_all(trainer))
    folder = Path(request.directory)
    assert {len((folder / f"data.{split}.txt").read_text().splitlines()) for split in ("train", "val")} == {3}
    assert yaml_of(folder / "args.yaml")["data"] == str(folder / "data.yaml")
    assert record.memory_gib > 0


def test_the_same_seed_gives_the_same_losses(trainer, train_request, tmp_path):
    losses = []
    for name in ("one", "two"):
        trainer.send(replace(train_request(epochs=1, mosaic=1.0), directory=str(tmp_path / name)))
        losses.append(epochs_of(hear_all(trainer))[0].losses)
    assert losses[0] == losses[1]


def test_a_learning_rate_of_a_million_ends_as_diverged_in_the_first_epoch(trainer, train_request):
    request = train_request(epochs=3, optimizer="SGD", lr0=1e6)
    trainer.send(request)
    records = hear_all(trainer)
    assert end_in_folder(request) == records[-1]
    assert epochs_of(records) == []
    assert records[-1].outcome == Outcome.DIVERGED
    assert "in epoch 1, batch" in records[-1].message


def test_a_stop_signal_ends_a_trial_in_order(trainer, train_request):
    request = train_request(epochs=200, validation_epochs=())
    trainer.send(request)
    pid = trainer.receive(timeout_s=60)[0].pid
    os.killpg(pid, signal.SIGTERM)
    began = time.monotonic()
    assert hear_all(trainer)[-1].outcome == Outcome.STOPPED
    assert time.monotonic() - began < 5
    assert end_in_folder(request).outcome == Outcome.STOPPED


def test_a_killed_trial_is_retryable_and_resumes_from_its_last_epoch(trainer, train_request):
    request = train_request(epochs=6, validation_epochs=(1, 2))
    trainer.send(request)
    heard = []
    while len(epochs_of(heard)) < 2:
        heard += trainer.receive(timeout_s=60)
    os.kill(heard[0].pid, signal.SIGKILL)
    before = [*heard, *hear_all(trainer)]
    assert before[-1].retryable
    assert end_in_folder(request) == before[-1]

    trainer.send(request)
    first = trainer.receive(timeout_s=60)
    while not epochs_of(first):
        first += trainer.receive(timeout_s=60)
    assert end_in_folder(request) is None, "it continues"
    after = epochs_of([*first, *hear_all(trainer)])
    assert end_in_folder(request).outcome == Outcome.COMPLETED
    assert [record.epoch for record in after] == [1, 2, 3, 4, 5, 6]
    assert after[:2] == epochs_of(before)[:2]
    log = (Path(request.directory) / "trainer.log").read_text()
    assert "resuming from epoch" in log


def test_a_finished_trial_that_is_requested_again_is_reported_and_not_trained_again(trainer, train_request):
    request = train_request(epochs=2)
    trainer.send(request)
    first = epochs_of(hear_all(trainer))
    checkpoint = Path(first[-1].checkpoint)
    written = checkpoint.stat().st_mtime_ns
    trainer.send(request)
    assert epochs_of(hear_all(trainer)) == first
    assert checkpoint.stat().st_mtime_ns == written


def test_another_configuration_in_the_same_folder_starts_again(trainer, train_request):
    trainer.send(train_request(epochs=2))
    hear_all(trainer)
    trainer.send(train_request(epochs=1, lr0=0.001))
    assert [record.epoch for record in epochs_of(hear_all(trainer))] == [1]


def test_a_truncated_checkpoint_is_not_resumed_from(trainer, train_request):
    request = train_request(epochs=2)
    trainer.send(request)
    checkpoint = Path(epochs_of(hear_all(trainer))[-1].checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    trainer.send(request)
    records = hear_all(trainer)
    assert [record.epoch for record in epochs_of(records)] == [1, 2]
    assert records[-1].outcome == Outcome.COMPLETED


def test_a_wrong_parameter_is_an_error_with_its_reason(trainer, train_request):
    trainer.send(train_request(epochs=1, hsv_h=7.0))
    end = hear_all(trainer)[-1]
    assert end.outcome == Outcome.ERROR
    assert "hsv_h" in end.message
    assert "\n" not in end.message


@pytest.mark.parametrize(
    ("data", "model", "outcome", "said"),
    [
        ("/nowhere/dataset.yaml", "mamba-yolo-n", Outcome.BAD_DATA, "/nowhere/dataset.yaml"),
        ("sample:x", "mamba-yolo-n", Outcome.BAD_DATA, "sample:N"),
        (None, "mamba-yolo-x", Outcome.BAD_MODEL, "mamba-yolo-n, mamba-yolo-t"),
        (None, "missing.pt", Outcome.BAD_MODEL, "missing.pt"),
    ],
)
def test_wrong_data_and_wrong_models_are_reported_in_one_line(trainer, data_yaml, tmp_path, data, model, outcome, said):
    trainer.send(PrepareRequest(data=data or str(data_yaml), model=model, directory=str(tmp_path)))
    end = hear_all(trainer)[-1]
    assert isinstance(end, EndRecord)
    assert end.outcome == outcome
    assert said in end.message
    assert "\n" not in end.message


def test_stock_models_train_too(trainer, data_yaml, train_request, tmp_path):
    trainer.send(PrepareRequest(data=str(data_yaml), model="yolov8n.yaml", directory=str(tmp_path)))
    prepared = hear_all(trainer)[-2]
    assert prepared.num_parameters == 3_012_018  # YOLOv8n at six classes
    trainer.send(replace(train_request(epochs=1), model=prepared.model))
    assert hear_all(trainer)[-1].outcome == Outcome.COMPLETED


def test_a_full_run_ends_with_an_evaluated_best_checkpoint_that_a_fresh_process_reads(
    trainer, train_request, data_yaml
):
    request = train_request(epochs=2, validation_epochs=(1, 2), full=True)
    trainer.send(request)
    records = hear_all(trainer)
    end = records[-1]
    assert end.outcome == Outcome.COMPLETED
    assert [record.epoch for record in epochs_of(records)] == [1, 2]
    assert set(end.metrics) == {"mAP50-95", "mAP50", "precision", "recall"}
    folder = Path(request.directory)
    for name in (
        "results.csv",
        "results.png",
        "args.yaml",
        "confusion_matrix.png",
        "weights/best.pt",
        "weights/last.pt",
    ):
        assert (folder / name).is_file(), name
    with (folder / "class-metrics.csv").open() as file:
        classes = list(csv.DictReader(file))
    # The mean over the classes that have labels, each rounded to five decimals.
    mean = sum(float(row["mAP50-95"]) for row in classes) / len(classes)
    assert mean == pytest.approx(end.metrics["mAP50-95"], abs=1e-5)

    image = next((data_yaml.parent / "images" / "val").glob("*.jpg"))
    code = (
        "import sys; from ultralytics import YOLO;"
        "print(len(YOLO(sys.argv[1]).predict(sys.argv[2], imgsz=64, conf=0.0001, verbose=False)[0].boxes))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, end.checkpoint, str(image)],
        env=users_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 0

    trainer.send(request)
    again = hear_all(trainer)
    assert again[-1] == end == end_in_folder(request), "a finished full run requested again is reported, not trained"


def test_a_training_process_ends_with_its_killed_server(train_request):
    from tuner.execution.trainer_process import TrainerProcess

    server = TrainerProcess([sys.executable, "-m", "trainer", "serve"])
    server.send(train_request(epochs=200, validation_epochs=()))
    pid = server.receive(timeout_s=60)[0].pid
    os.kill(server._process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    server.close()


def test_nothing_is_written_next_to_the_users_data(trainer, train_request, data_yaml):
    before = {path: path.stat().st_mtime_ns for path in data_yaml.parent.rglob("*") if path.is_file()}
    trainer.send(train_request(epochs=1))
    hear_all(trainer)
    after = {path: path.stat().st_mtime_ns for path in data_yaml.parent.rglob("*") if path.is_file()}
    changed = {path.name for path in after.keys() ^ before.keys()} | {
        path.name for path in before if after[path] != before[path]
    }
    assert changed == set()


def test_what_the_trainer_prints_does_not_reach_the_records(trainer, train_request):
    request = train_request(epochs=1)
    trainer.send(request)
    records = hear_all(trainer)
    assert records[-1].outcome == Outcome.COMPLETED
    assert "epoch 1/1: box_loss" in (Path(request.directory) / "trainer.log").read_text()
    assert json.loads((Path(request.directory) / "request.json").read_text())["seed"] == 0
