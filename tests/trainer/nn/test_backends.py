"""The choice of the selective scan: which implementation runs on a device, and what happens if none does."""

import pytest
import torch

from trainer.exceptions import BackendUnavailableError, DeviceError
from trainer.nn.selective_scan import _backends
from trainer.ultralytics_bridge import report


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Forget every choice before and after the test."""
    monkeypatch.delenv(_backends.ENVIRONMENT_VARIABLE, raising=False)
    for remembered in (_backends._best, _backends._why_not):
        remembered.cache_clear()
    yield
    for remembered in (_backends._best, _backends._why_not):
        remembered.cache_clear()


@pytest.fixture
def on_gpu(monkeypatch):
    """Imitate a GPU on which the implementations work, or do not for these reasons."""

    def make(**reasons):
        for name in ("triton", "mamba_ssm"):
            monkeypatch.setattr(_backends.named(name), "why_not", lambda device, name=name: reasons.get(name))
        monkeypatch.setattr(_backends, "_disagreement", lambda backend, device: None)

    return make


def test_on_a_gpu_the_implementation_that_gives_the_same_bits_each_time_comes_first(on_gpu):
    on_gpu()
    assert _backends.chosen("auto", "cuda:0", False) == "triton"
    assert _backends.described("cuda:0") == "triton"


def test_the_next_implementation_replaces_it_and_the_reason_is_reported(on_gpu, caplog):
    on_gpu(triton="it needs compute capability 7.5, and this GPU has 7.0")
    with caplog.at_level("INFO"):
        assert _backends.chosen("auto", "cuda:0", False) == "mamba_ssm"
    assert "not triton: it needs compute capability 7.5" in caplog.text
    assert _backends.described("cuda:0").startswith("mamba_ssm (triton: it needs compute capability 7.5")


NONE = {"triton": "no C compiler was found", "mamba_ssm": "it is not installed"}


def test_on_a_gpu_plain_torch_never_takes_over_silently(on_gpu):
    on_gpu(**NONE)
    with pytest.raises(DeviceError) as raised:
        _backends.chosen("auto", "cuda:0", False)
    for part in ("triton: no C compiler was found", "mamba_ssm: it is not installed", "MAMBA_YOLO_SCAN=torch"):
        assert part in str(raised.value)


def test_plain_torch_runs_on_a_gpu_if_it_is_asked_for(on_gpu, monkeypatch):
    on_gpu(**NONE)
    monkeypatch.setenv(_backends.ENVIRONMENT_VARIABLE, "torch")
    assert _backends.chosen("auto", "cuda:0", False) == "torch"
    assert _backends.chosen("torch", "cuda:0", False) == "torch"


def test_an_implementation_that_is_requested_by_name_and_does_not_work_is_refused(on_gpu):
    on_gpu(**NONE)
    with pytest.raises(BackendUnavailableError, match="no C compiler was found"):
        _backends.chosen("triton", "cuda:0", False)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("Triton Error [CUDA]: out of memory"), MemoryError()],
)
def test_a_lack_of_memory_is_not_remembered(on_gpu, monkeypatch, error):
    """The lack is temporary, and remembering it would slow every later trial of this process."""
    on_gpu()
    outcomes = iter([error])

    def disagreement(backend, device):
        for outcome in outcomes:
            raise outcome

    monkeypatch.setattr(_backends, "_disagreement", disagreement)
    with pytest.raises(type(error)):
        _backends.chosen("auto", "cuda:0", False)
    assert _backends.chosen("auto", "cuda:0", False) == "triton"


def test_any_other_error_is_a_reason(on_gpu, monkeypatch):
    on_gpu(mamba_ssm="it is not installed")

    def fail(backend, device):
        raise RuntimeError("ptxas exited with 255\nand a long log")

    monkeypatch.setattr(_backends, "_disagreement", fail)
    with pytest.raises(DeviceError, match="triton: RuntimeError: ptxas exited with 255; mamba_ssm"):
        _backends.chosen("auto", "cuda:0", False)


@pytest.mark.parametrize("device", ["mps", "xpu:0"])
def test_other_devices_run_plain_torch(device):
    assert _backends.chosen("auto", device, False) == "torch"


def test_a_machine_that_trains_on_a_cpu_without_a_compiler_has_a_problem(monkeypatch):
    native = _backends.named("native")
    monkeypatch.setattr(native, "why_not", lambda device: "no C compiler was found; on Debian: apt-get install gcc")
    (problem,) = report.environment_report().problems
    assert problem.startswith(
        "the selective scan of Mamba-YOLO runs in plain torch, several times slower: torch (native"
    )
    assert "apt-get install gcc" in problem


def test_a_machine_with_a_compiler_has_none():
    assert report.environment_report().problems == ()
