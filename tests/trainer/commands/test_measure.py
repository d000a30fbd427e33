"""Measurements of a trained model, on a real one, and the answer if there is nothing to measure."""

import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import hear_all
from trainer.ultralytics_bridge import environment
from tuner.contract import MeasuredRecord, MeasureRequest, Outcome
from tuner.execution.trainer_process import TrainerProcess

environment.configure()

from ultralytics import YOLO  # noqa: E402 - only after the environment is set

from trainer.models import model_yaml  # noqa: E402
from trainer.ultralytics_bridge import measuring  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning"),
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Make a Mamba-YOLO with random weights."""
    file = tmp_path_factory.mktemp("weights") / "best.pt"
    YOLO(model_yaml("mamba-yolo-n")).save(file)
    return file


def answers(weights, folder):
    """Return the records of a real trainer for the request that `tune run` sends."""
    request = MeasureRequest(weights=str(weights), imgsz=50, use_gpu=False, threads=1, directory=str(folder))
    trainer = TrainerProcess([sys.executable, "-m", "trainer", "serve"])
    trainer.send(request)
    try:
        return hear_all(trainer)
    finally:
        trainer.close()


def counted_gflops(model, size):
    """Count convolutions and products of matrices, as torch itself counts them."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() / 1e9


def test_a_mamba_yolo_is_measured_in_torch_and_as_onnx(weights, tmp_path):
    *_, measured, end = answers(weights, tmp_path)

    assert (end.outcome, measured.notes) == (Outcome.COMPLETED, ())
    model = YOLO(weights).model.eval()
    assert measured.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (measured.imgsz, measured.threads) == (64, 1)  # the next multiple of the stride, as training rounds it
    assert measured.gflops == pytest.approx(counted_gflops(model, 64), rel=0.05)
    assert [latency.runtime for latency in measured.latencies] == [
        f"torch {torch.__version__}",
        f"onnxruntime {version('onnxruntime')}",
    ]
    for latency in measured.latencies:
        assert 0 < latency.p50_ms <= latency.p95_ms
        assert 5 <= latency.runs <= 50
    assert measured.latencies[0].file_bytes == weights.stat().st_size
    assert sorted(path.name for path in weights.parent.iterdir()) == ["best.pt"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) in ([], ["stacks"])


def test_without_the_extra_for_export_only_torch_is_measured_and_a_note_says_so(weights, tmp_path, monkeypatch):
    def uninstalled(package):
        if package == "onnxruntime":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(measuring, "version", uninstalled)
    record = measuring.measured(weights, 64, use_gpu=False, threads=1, folder=tmp_path)

    assert isinstance(record, MeasuredRecord)
    assert [latency.runtime.split()[0] for latency in record.latencies] == ["torch"]
    assert record.notes == ("ONNX was not measured: onnxruntime not installed; install the extra [export]",)


def test_weights_that_cannot_be_loaded_are_a_bad_model(tmp_path):
    (tmp_path / "best.pt").write_bytes(b"no weights")
    *_, end = answers(tmp_path / "best.pt", tmp_path)
    assert end.outcome == Outcome.BAD_MODEL
    assert "best.pt" in end.message


def test_missing_weights_are_a_bad_model(tmp_path):
    *_, end = answers(tmp_path / "best.pt", tmp_path)
    assert (end.outcome, end.message) == (Outcome.BAD_MODEL, f"there is no file '{tmp_path / 'best.pt'}'")
