"""The benchmarks run, and write what they measured."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.nn.selective_scan import NAMES

ROOT = Path(__file__).parents[2]


def values(script: str, folder: Path, *options: str) -> dict:
    """Run a benchmark on one thread, and return its values, with its tables under `output`."""
    path = folder / "values.json"
    command = [sys.executable, f"benchmarks/{script}", "--threads", "1", "--repeats", "2", "--json", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {**json.loads(path.read_text()), "output": done.stdout}


def contestants(skipped) -> set[str]:
    """List every scan that can run here; pscan is not a dependency of the project."""
    names = {"torch", "published loop"} | (set(NAMES) - set(skipped))
    return names | {"mambapy pscan"} if importlib.util.find_spec("mambapy") else names


SEQUENCE = ("y", "u", "delta", "A", "B", "C", "D", "delta_bias")


@pytest.mark.parametrize(
    ("options", "tensors", "tolerance"),
    [
        ((), SEQUENCE, 1e-5),
        pytest.param(("--training", "float32"), (*SEQUENCE, "dt_weight"), 1e-5, marks=pytest.mark.slow),
        (("--training", "amp"), (*SEQUENCE, "dt_weight"), 1e-2),  # y and its gradient have 8 bits
    ],
)
def test_scans_are_timed_weighed_and_checked_forward_and_backward(tmp_path, options, tensors, tolerance):
    found = values("scan.py", tmp_path, "--shapes", "tiny", *options)
    names = contestants(found["skipped"])
    for records in ("timings", "memory"):
        measured = {(x["contestant"], x["measure"]) for x in found[records]}
        assert measured == {(name, measure) for name in names for measure in ("forward", "forward and backward")}
    assert all(len(x["seconds"]) == 2 and x["median_ms"] > 0 for x in found["timings"])
    assert all(x["peak_bytes"] >= 0 for x in found["memory"])

    errors = {(x["contestant"], x["tensor"]): x["relative_error"] for x in found["accuracy"]}
    assert errors.keys() == {(name, tensor) for name in names for tensor in tensors}
    assert max(errors.values()) < tolerance


def test_models_are_timed_with_every_scan_and_against_stock_yolo(tmp_path):
    found = values("model.py", tmp_path, "--model", "mamba-yolo-n", "--imgsz", "64", "--batch", "1")
    models = {f"mamba-yolo-n, {name}" for name in contestants(found["skipped"])} | {"yolov8n", "yolov8s"}
    measured = {(x["contestant"], x["measure"]) for x in found["timings"]}
    assert measured == {(model, measure) for model in models for measure in ("inference", "training step")}
    assert all(len(x["seconds"]) == 2 and x["median_ms"] > 0 for x in found["timings"])


def test_profile_shares_out_the_whole_training_step(tmp_path):
    found = values("model.py", tmp_path, "--model", "mamba-yolo-n", "--imgsz", "64", "--batch", "1", "--profile")
    shares = {x["part"]: x["share"] for x in found["costs"] if x["operator"] == "all"}
    assert {"scan", "convolutions", "norms", "activations", "loss", "rest"} <= shares.keys()
    assert sum(shares.values()) == pytest.approx(1)
    assert sum(x["share"] for x in found["costs"] if x["operator"] != "all") == pytest.approx(1)
    assert f"a training step with the scan '{found['ours']}'" in found["output"]


def test_memory_that_a_step_keeps_is_counted_in_both_precisions():
    command = [sys.executable, "-m", "benchmarks.kept_memory", "--imgsz", "64", "--models", "mamba-yolo-n"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    model, amp_mib, float32_mib = done.stdout.splitlines()[-1].strip("| ").split(" | ")
    assert model == "mamba-yolo-n"
    assert min(float(amp_mib), float(float32_mib)) > 1
