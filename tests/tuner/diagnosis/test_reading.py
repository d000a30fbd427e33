"""Find the files of a run, and report a path without one."""

import json
import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.contract import EndRecord, EpochRecord, Outcome, encode
from tuner.diagnosis import reading
from tuner.diagnosis.reading import read_run
from tuner.exceptions import TunerError, UsageError

HEAD = "epoch,time,train/box_loss,metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss"
CSV = f"{HEAD}\n1,10,3,0.1,0.05,3.1\n2,18,2.5,0.2,0.1,2.6\n"
ARGUMENTS = "model: yolov8n.yaml\nepochs: 300\nlr0: 0.01\noptimizer: SGD\nfreeze: [1, 2]\ntime: null\n"
REQUEST = {"params": {"lr0": 0.02, "optimizer": "SGD"}, "model": "mamba-yolo-n", "epochs": 54, "seed": 0, "data": "d"}


def record(epoch, *, metrics=None, loss=2.0):
    return encode(
        EpochRecord(
            epoch=epoch,
            losses={"box": loss},
            metrics=metrics,
            seconds=5.0,
            memory_gib=1.5,
            learning_rate=0.01,
            batch=16,
            checkpoint="weights/last.pt",
        )
    )


def test_a_folder_its_table_and_its_arguments_are_the_same_run(tmp_path):
    (tmp_path / "results.csv").write_text(CSV)
    (tmp_path / "args.yaml").write_text(ARGUMENTS)
    found = read_run(tmp_path)
    assert (found.last_epoch, found.planned_epochs, found.from_scratch, found.notes) == (2, 300, True, ())
    assert found.params["freeze"] == (1, 2)
    assert "time" not in found.params
    for name in ("results.csv", "args.yaml"):
        assert read_run(tmp_path / name).epochs == found.epochs


def test_a_table_with_another_name_is_read(tmp_path):
    (tmp_path / "old.csv").write_text(CSV)
    found = read_run(tmp_path / "old.csv")
    assert (found.last_epoch, found.planned_epochs) == (2, None)
    assert "no args.yaml" in found.notes[0]


def test_our_records_count_and_only_validated_epochs_take_validation_losses_from_the_table(tmp_path):
    values = {"mAP50": 0.2, "mAP50-95": 0.1}
    (tmp_path / "records.jsonl").write_text(f"{record(1)}\n{record(2, metrics=values)}\n")
    (tmp_path / "results.csv").write_text(CSV)
    (tmp_path / "request.json").write_text(json.dumps(REQUEST))
    first, second = read_run(tmp_path).epochs
    assert (first.metrics, first.val, first.seconds, first.memory_gib) == (None, None, 5.0, 1.5)
    assert (dict(second.metrics), dict(second.val)) == (values, {"box": 2.6})
    assert read_run(tmp_path).planned_epochs == 54


def test_records_that_are_not_finite_stay_so(tmp_path):
    (tmp_path / "records.jsonl").write_text(record(1, loss=float("nan")) + "\n")
    assert str(read_run(tmp_path).epochs[0].train["box"]) == "nan"


def test_a_truncated_last_record_is_left_out_and_reported(tmp_path):
    (tmp_path / "records.jsonl").write_text(f"{record(1)}\n{record(2)[:40]}")
    found = read_run(tmp_path)
    assert found.last_epoch == 1
    assert "line 2 of records.jsonl is cut off and was skipped" in found.notes


def test_a_record_that_is_broken_in_the_middle_is_named(tmp_path):
    (tmp_path / "records.jsonl").write_text(f"{record(1)}\n{{}}\n{record(2)}\n")
    with pytest.raises(UsageError, match=r"records.jsonl:2: "):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("trainer.exceptions.DivergedError: the loss became NaN in epoch 1, batch 3", Outcome.DIVERGED),
        ("trainer.exceptions.OutOfMemoryError: memory ran out while training", Outcome.OUT_OF_MEMORY),
        ("trainer.exceptions.Diverged: a log of an earlier version", Outcome.DIVERGED),
        ("trainer.exceptions.OutOfMemory: a log of an earlier version", Outcome.OUT_OF_MEMORY),
    ],
)
def test_a_run_that_ended_in_its_first_epoch_is_recognised_by_its_log(tmp_path, error, outcome):
    (tmp_path / "request.json").write_text(json.dumps(REQUEST))
    (tmp_path / "trainer.log").write_text(f"training failed\nTraceback\n{error}\n")
    found = read_run(tmp_path)
    assert (found.epochs, found.outcome, found.message) == ((), outcome, error.partition(": ")[2])


@pytest.mark.parametrize("outcome", [Outcome.DIVERGED, Outcome.OUT_OF_MEMORY])
def test_the_end_record_says_how_a_run_ended_whatever_the_log_says(tmp_path, outcome):
    (tmp_path / "request.json").write_text(json.dumps(REQUEST))
    (tmp_path / "trainer.log").write_text("trainer.exceptions.Diverged: in an earlier version\n")
    (tmp_path / "end.json").write_text(encode(EndRecord(outcome=outcome, message="in epoch 1, batch 3")))
    found = read_run(tmp_path)
    assert (found.epochs, found.outcome, found.message) == ((), outcome, "in epoch 1, batch 3")


def test_a_run_that_was_stopped_before_its_first_epoch_has_nothing_to_judge(tmp_path):
    (tmp_path / "request.json").write_text(json.dumps(REQUEST))
    (tmp_path / "end.json").write_text(encode(EndRecord(outcome=Outcome.STOPPED)))
    with pytest.raises(UsageError, match="has none yet"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, record(1), '{"version": 9}'])
def test_an_invalid_end_record_is_skipped_in_favour_of_the_log(tmp_path, text):
    (tmp_path / "request.json").write_text(json.dumps(REQUEST))
    (tmp_path / "trainer.log").write_text("trainer.exceptions.Diverged: the loss became NaN\n")
    (tmp_path / "end.json").write_text(text)
    assert read_run(tmp_path).message == "the loss became NaN"


def test_an_end_that_a_later_attempt_trained_past_does_not_count(tmp_path):
    (tmp_path / "records.jsonl").write_text(record(1) + "\n")
    told = "trainer.exceptions.OutOfMemoryError: memory ran out\nINFO trainer: epoch 1/54: box_loss 2; 5.0 s\n"
    (tmp_path / "trainer.log").write_text(told)
    assert read_run(tmp_path).outcome is None


def test_the_best_checkpoint_is_found(tmp_path):
    (tmp_path / "results.csv").write_text(CSV)
    assert read_run(tmp_path).best_weights == ""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "best.pt").write_bytes(b"")
    assert read_run(tmp_path).best_weights == str(tmp_path / "weights" / "best.pt")


def test_without_validation_only_the_last_epoch_has_metrics(tmp_path):
    (tmp_path / "results.csv").write_text(CSV)
    (tmp_path / "args.yaml").write_text("epochs: 2\nval: false\n")
    first, second = read_run(tmp_path).epochs
    assert (first.metrics, first.val) == (None, None)
    assert second.metrics["mAP50"] == 0.2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("model: yolov8n.yaml\npretrained: true\n", True),
        ("model: yolov8n.pt\npretrained: true\n", False),
        ("model: yolov8n.pt\npretrained: false\n", True),
        ("model: yolov8n.yaml\npretrained: yolov8n.pt\n", False),
        ("model: study/mamba-yolo-t-untrained.pt\npretrained: true\n", True),
        ("model: run/weights/last.pt\nresume: run/weights/last.pt\n", None),
        ("epochs: 3\n", None),
    ],
)
def test_the_starting_weights_of_a_run_are_read_from_its_arguments(tmp_path, arguments, expected):
    (tmp_path / "results.csv").write_text(CSV)
    (tmp_path / "args.yaml").write_text(arguments)
    assert read_run(tmp_path).from_scratch is expected


@pytest.mark.parametrize("arguments", ["[", "- 1\n", "", "x: !!python/object:os.system {}\nlr0: 0.1\n", "a: 1\na: 2\n"])
def test_unreadable_arguments_are_reported_and_the_curves_are_judged_anyway(tmp_path, arguments):
    (tmp_path / "results.csv").write_text(CSV)
    (tmp_path / "args.yaml").write_text(arguments)
    found = read_run(tmp_path)
    assert found.last_epoch == 2
    assert found.notes[0].startswith("args.yaml")


def test_a_run_of_a_study_has_the_model_that_a_plain_yolo_can_read(tmp_path):
    folder = tmp_path / "demo" / "trials" / "0001"
    folder.mkdir(parents=True)
    (folder / "records.jsonl").write_text(record(1))
    (folder / "request.json").write_text(json.dumps(REQUEST))
    assert read_run(folder).params["model"] == "mamba-yolo-n"
    portable = tmp_path / "demo" / "mamba-yolo-n-untrained.pt"
    portable.write_bytes(b"")
    found = read_run(folder)
    assert (found.params["model"], found.params["pretrained"], found.from_scratch) == (str(portable), False, True)


# Wrong paths


def refused(path):
    with pytest.raises(UsageError) as raised:
        read_run(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_path_without_a_run_is_reported_with_the_files_looked_for(tmp_path):
    (tmp_path / "image.jpg").write_bytes(b"\xff\xd8")
    assert "No such file" in refused(tmp_path / "missing")
    for path in (tmp_path, tmp_path / "image.jpg"):
        assert "records.jsonl or results.csv" in refused(path)


def test_a_folder_of_runs_names_them(tmp_path):
    for name in "abcdefg":
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.csv").write_text(CSV)
    said = refused(tmp_path)
    assert "has 7" in said
    assert f"'{tmp_path / 'a'}'" in said
    assert said.endswith("and 2 more.")


def test_a_run_without_an_epoch_is_reported(tmp_path):
    (tmp_path / "results.csv").write_text(HEAD + "\n")
    assert "none yet" in refused(tmp_path)


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 20)
    (tmp_path / "results.csv").write_text(CSV)
    assert "20 bytes" in refused(tmp_path)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "results.csv")
    assert "records.jsonl or results.csv" in refused(tmp_path)
    assert "results.csv" in refused(tmp_path / "results.csv")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_an_impossible_path_is_refused(tmp_path, name):
    refused(tmp_path / name)


@given(content=st.binary(max_size=300), name=st.sampled_from([*reading._SIGNS, "args.yaml", "trainer.log", "end.json"]))
def test_any_bytes_in_any_file_are_read_or_refused(tmp_path_factory, content, name):
    folder = tmp_path_factory.mktemp("run")
    (folder / "results.csv").write_text(CSV)
    (folder / name).write_bytes(content)
    with suppress(TunerError):
        read_run(folder)


def test_a_byte_order_mark_and_invalid_utf8_do_not_matter(tmp_path):
    (tmp_path / "results.csv").write_bytes(b"\xef\xbb\xbf" + CSV.encode())
    (tmp_path / "args.yaml").write_bytes(b"epochs: 3\nname: \xff\n")
    assert (read_run(tmp_path).last_epoch, read_run(tmp_path).planned_epochs) == (2, 3)
