"""Measurements and problems that each check of a device reports, in its small form on a CPU."""

import os

import pytest
import torch

from trainer.commands import check_device
from trainer.ultralytics_bridge import environment
from tuner.contract import DeviceCheck, DeviceCheckRequest, Outcome

environment.configure()

from trainer.device_check import (  # noqa: E402 - only after the environment is set
    cases,
    determinism,
    loading,
    memory,
    model_speed,
    scan_accuracy,
    scan_speed,
    scan_tuning,
    sharing,
)
from trainer.nn.selective_scan import NAMES, cross_selective_scan, scan_on, tuning  # noqa: E402
from trainer.nn.selective_scan.tuning import Configuration, Gpu, MapShape, Problem  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread, so that other work does not slow the checks down: threads of a scan wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows(record):
    (table,) = record.tables
    return table.rows


# Accuracy of the scans


@pytest.mark.parametrize("name", ["native", "torch"])
def test_our_scans_are_right_in_every_type(name):
    record = scan_accuracy.run(CPU, small=True)
    assert record.problems == ()
    own = [row for row in rows(record) if row["scan"] == name]
    assert {row["type"] for row in own} == {"float32", "float16", "bfloat16"}
    assert all(row["right"] and row["output_error"] < 1e-5 for row in own)
    assert {row["map"].split(" x ")[1] for row in own} == {"1", "7"}, "a single token is among the maps"


@pytest.mark.parametrize("wrong", ["output", "gradient", "nan"])
def test_a_scan_that_computes_something_else_is_a_problem(wrong, monkeypatch):
    def broken(*arguments):
        if wrong == "nan":
            return cross_selective_scan(*arguments) * torch.nan
        y = cross_selective_scan(*arguments)
        return y + 1e-3 * y.detach().abs().max() if wrong == "output" else y + 0.01 * (y - y.detach())

    monkeypatch.setattr(scan_accuracy, "scans_on", lambda device: ({"broken": broken}, ["a note"]))
    record = scan_accuracy.run(CPU, small=True)
    assert record.notes == ("a note",)
    assert not any(row["right"] for row in rows(record) if row["type"] == "float32")
    assert all("the selective scan 'broken' is wrong on a map of" in problem for problem in record.problems)


def test_lengths_from_one_to_102400_are_checked_on_a_gpu():
    assert {shape.length for shape in scan_accuracy._MAPS} >= {1, 102_400}


def test_scans_that_do_not_work_here_are_named_with_the_reason(monkeypatch):
    monkeypatch.setitem(cases._FOR_DEVICE, "cpu", NAMES)
    scans, notes = cases.scans_on(CPU)
    assert set(scans) == {"native", "torch"}
    assert len(notes) == 2
    assert any("triton" in note and "NVIDIA" in note for note in notes)


@pytest.mark.parametrize(("got", "error"), [([1.0, 2.2], 0.1), ([1.0, float("nan")], float("nan"))])
def test_an_error_is_a_share_of_the_largest_entry(got, error):
    found = cases.relative_error([torch.tensor(got)], [torch.tensor([1.0, 2.0]).double()])
    assert found == pytest.approx(error, nan_ok=True)


# Configurations of the Triton kernels


def test_a_cpu_has_nothing_to_tune():
    record = scan_tuning.run(CPU, small=True)
    assert (record.tables, record.notes) == ((), ("only the Triton scan of GPUs has configurations to choose from",))


def test_a_gpu_without_triton_gets_the_reason(monkeypatch):
    monkeypatch.setattr(scan_tuning, "scans_on", lambda device: ({"torch": None}, ["triton: no compiler"]))
    record = scan_tuning.run(torch.device("cuda:0"), small=True)
    assert (record.tables, record.notes) == ((), ("triton: no compiler",))


def test_the_fastest_configurations_are_kept_for_later_runs(monkeypatch, tmp_path):
    forward, backward = (Problem(way, "float32", "float32", 7, 15, 64) for way in ("forward", "backward"))
    fast, slow = Configuration(4, 64, 16), Configuration(8, 64, 12)

    def tune(device, shapes, *, on_time):
        assert shapes == [MapShape(16, 160, 160, 64)]
        for problem, config, ms in ((forward, slow, 3.0), (forward, fast, 2.0), (backward, slow, 5.0)):
            on_time(problem, config, ms)
        return {forward: fast, backward: slow}

    gpu = Gpu("NVIDIA H100", "9.0", "3.8.0")
    monkeypatch.setenv("MAMBA_YOLO_SCAN_CONFIG", str(tmp_path / "kept.json"))
    monkeypatch.setattr(scan_tuning, "scans_on", lambda device: ({"triton": None}, []))
    monkeypatch.setattr(scan_tuning, "SIDES_AND_CHANNELS", ((160, 64),))
    monkeypatch.setattr(tuning, "gpu_of", lambda device: gpu)
    monkeypatch.setattr(tuning, "tune", tune)
    record = scan_tuning.run(torch.device("cuda:0"), small=False)
    assert tuning.load(tmp_path / "kept.json", gpu) == {forward: fast, backward: slow}
    assert [(row["pass"], row["ms"], row["kept"]) for row in rows(record)] == [
        ("forward", 3.0, False),
        ("forward", 2.0, True),
        ("backward", 5.0, True),
    ]
    assert record.notes == (f"kept for all later runs on GPUs of this kind: {tmp_path / 'kept.json'}",)


def test_a_file_that_cannot_be_written_is_a_note_and_loses_no_times(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MAMBA_YOLO_SCAN_CONFIG", str(tmp_path / "file" / "kept.json"))
    monkeypatch.setattr(scan_tuning, "scans_on", lambda device: ({"triton": None}, []))
    monkeypatch.setattr(tuning, "gpu_of", lambda device: Gpu("A", "9.0", "3"))
    monkeypatch.setattr(tuning, "tune", lambda device, shapes, *, on_time: {})
    (note,) = scan_tuning.run(torch.device("cuda:0"), small=False).notes
    assert note.startswith("the configurations could not be kept: ")


# Speed


def test_the_speed_of_each_scan_is_compared_with_that_of_the_memory():
    record = scan_speed.run(CPU, small=True)
    speed, bandwidth = record.tables
    assert [row["scan"] for row in speed.rows] == ["native", "torch"]
    for row in speed.rows:
        assert 0 < row["forward_ms"] < row["training_ms"]
        assert 0 < row["forward_share"] < 1
    assert bandwidth.rows[0]["copied_gb_per_s"] > 0.1
    assert record.notes[0] == "training uses: native"


def test_whole_models_are_timed_with_the_scan_that_is_named(monkeypatch):
    scanned_with = []

    def run_once(work, device):
        scanned_with.append(scan_on(str(device)))
        work()
        return 4.0

    monkeypatch.setattr(model_speed, "median_ms", run_once)
    monkeypatch.setattr(model_speed, "_SMALL_MODELS", ("mamba-yolo-n", "yolov8n.yaml"))
    monkeypatch.setattr(model_speed, "_WITH_SLOW_SCAN", "mamba-yolo-n")
    monkeypatch.setenv("MAMBA_YOLO_SCAN", "torch")
    native, slow, yolo = rows(model_speed.run(CPU, small=True))
    assert (native["scan"], slow["scan"], "scan" in yolo) == ("native", "torch", False)
    assert scanned_with[:6] == 3 * ["native"] + 3 * ["torch"]
    assert os.environ["MAMBA_YOLO_SCAN"] == "torch", "as it was"
    assert native["training_images_per_s"] == 2 / 0.004


# Determinism and memory


def test_training_twice_gives_the_same_bits():
    record = determinism.run(CPU, small=True)
    assert record.problems == ()
    mamba, yolo = rows(record)
    assert (mamba["scan"], mamba["different"], yolo["different"]) == ("native", 0, 0)
    assert "scan" not in yolo


def test_weights_that_differ_after_two_trainings_are_a_problem(monkeypatch):
    starts = iter(range(4))
    trained = determinism._trained
    monkeypatch.setattr(determinism, "_SMALL_MODELS", ("yolov8n.yaml",))
    monkeypatch.setattr(determinism, "_IMGSZ", 64)

    def chaotic(*arguments):
        weights = trained(*arguments)
        first = next(iter(weights))
        weights[first] = weights[first] + next(starts)
        return weights

    monkeypatch.setattr(determinism, "_trained", chaotic)
    (problem,) = determinism.run(CPU, small=True).problems
    assert "yolov8n.yaml: two trainings of 5 steps from the same start differ in 1 of" in problem


def test_what_a_step_keeps_grows_with_the_image_and_leaves_the_weights_out():
    small = memory.kept_bytes("yolov8n.yaml", 64, CPU, half=None)
    assert memory.kept_bytes("yolov8n.yaml", 128, CPU, half=None) == pytest.approx(4 * small, rel=0.1)


# The other checks, and the command


def test_loaders_deliver_batches():
    (row,) = rows(loading.run(CPU, small=True))
    assert row["loaders"] == 1
    assert row["images_per_s"] > 1


@pytest.mark.slow
def test_processes_that_share_a_device_train_together():
    one, two = rows(sharing.run(CPU, small=True))
    assert (one["processes"], one["gain"], two["processes"]) == (1, 1.0, 2)
    assert two["images_per_s"] > 0


def test_a_process_that_fails_on_a_shared_device_is_a_note(monkeypatch):
    monkeypatch.setattr(sharing, "_SMALL_MODELS", ("no-such-model",))
    record = sharing.run(CPU, small=True)
    assert record.tables[0].rows == ()
    (note,) = record.notes
    assert "no-such-model in 1 processes: ModelError" in note


def asked(check, device="cpu"):
    heard = []
    request = DeviceCheckRequest(check=check, device=device, small=True, threads=1, directory="/nowhere")
    return check_device.run(request, heard.append), heard


@pytest.mark.parametrize("before", [False, True])
def test_the_command_measures_in_deterministic_mode_and_leaves_it_as_it_was(monkeypatch, before):
    seen = []

    def run(device, *, small):
        seen.append((str(device), small, torch.are_deterministic_algorithms_enabled()))
        return "record"

    monkeypatch.setattr(determinism, "run", run)
    found = torch.are_deterministic_algorithms_enabled()  # left by other tests
    torch.use_deterministic_algorithms(before, warn_only=True)
    try:
        end, heard = asked("determinism")
        after = torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(found, warn_only=True)
    assert (end.outcome, heard, seen) == (Outcome.COMPLETED, ["record"], [("cpu", True, True)])
    assert after == before


def test_every_check_has_its_module():
    for check in DeviceCheck:
        __import__(f"trainer.device_check.{check.replace('-', '_')}")


def test_an_unknown_check_is_answered_as_unsupported():
    end, heard = asked("temperature")
    assert (end.outcome, heard) == (Outcome.UNSUPPORTED, [])
    assert "A check must be one of scan-tuning, " in end.message
