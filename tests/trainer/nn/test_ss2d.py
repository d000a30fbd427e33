"""SS2D: the four paths, the initial values, and the precision policy."""

import pytest
import torch
from torch import nn

from trainer.nn import SS2D, VSSBlock, XSSBlock, is_ssm_parameter


def test_initial_values_are_those_of_mamba_yolo():
    torch.manual_seed(0)
    ss2d = SS2D(64)
    assert (ss2d.A_logs == 0).all()
    assert (ss2d.Ds == 1).all()
    for tensor in (ss2d.dt_projs_weight, ss2d.dt_projs_bias):
        assert tensor.mean().abs() < 0.1
        assert tensor.std().item() == pytest.approx(1, abs=0.1)
    bound = 128**-0.5
    assert 0.99 * bound < ss2d.x_proj_weight.abs().max() <= bound


@pytest.mark.parametrize("channels", [8, 24, 64])
def test_parameter_count_follows_the_closed_form(channels):
    rank = -(-channels // 16)
    expected = 6 * channels**2 + 16 * channels * rank + 424 * channels
    assert sum(p.numel() for p in SS2D(channels).parameters()) == expected


def test_both_activations_are_exact_gelu():
    acts = [m for m in SS2D(8).modules() if isinstance(m, nn.GELU)]
    assert len(acts) == 1
    assert acts[0].approximate == "none"
    assert not [m for m in SS2D(8).modules() if isinstance(m, nn.SiLU)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_scan_runs_in_float32_under_autocast_and_in_half_models(monkeypatch, dtype, mode):
    seen = []
    scan = SS2D.forward.__globals__["cross_selective_scan"]

    def spy(*tensors):
        seen.extend(x.dtype for x in tensors)
        assert not torch.is_autocast_enabled("cpu")
        return scan(*tensors)

    monkeypatch.setitem(SS2D.forward.__globals__, "cross_selective_scan", spy)
    module = SS2D(8).train(mode == "train")
    x = 100 * torch.randn(1, 8, 5, 7)
    with torch.autocast("cpu", dtype=dtype):
        under_autocast = module(x)
    halved = module.to(dtype)(x.to(dtype))
    assert set(seen) == {torch.float32}
    for y in (under_autocast, halved):
        assert y.dtype == dtype
        assert y.isfinite().all()


def test_huge_time_steps_in_half_precision_stay_finite():
    module = SS2D(8)
    nn.init.constant_(module.dt_projs_bias, 3e4)
    assert module.half()(torch.full((1, 8, 6, 4), 6e3, dtype=torch.float16)).isfinite().all()


def test_maps_may_be_stored_channels_last():
    module, x = SS2D(8), torch.randn(2, 8, 6, 4)
    assert torch.allclose(module(x), module(x.contiguous(memory_format=torch.channels_last)), atol=1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # sizes are fixed by tracing, as intended
def test_traced_module_gives_the_same_numbers_and_has_no_python_left():
    module, x = SS2D(8).eval().requires_grad_(False), torch.randn(1, 8, 6, 4)
    traced = torch.jit.trace(module, x)
    assert "PythonOp" not in str(traced.inlined_graph)
    assert torch.allclose(traced(x), module(x), atol=1e-5)


def test_state_space_parameters_are_recognised_by_name():
    names = [name for name, _ in VSSBlock(8, 8).named_parameters() if is_ssm_parameter(name)]
    assert names == ["op.dt_projs_bias", "op.A_logs", "op.Ds"]


def test_shapes_can_be_worked_out_without_data():
    with torch.device("meta"):
        assert SS2D(8)(torch.empty(2, 8, 5, 7)).shape == (2, 8, 5, 7)


@pytest.mark.parametrize("block", [VSSBlock, XSSBlock])
def test_layout_without_local_convolutions_lacks_exactly_their_parameters(block):
    with_local, without = (
        {name for name, _ in block(8, 8, local_spatial=local).named_parameters()} for local in (True, False)
    )
    assert without < with_local
    assert {name.split(".")[0] for name in with_local - without} == {"lsblock"}


@pytest.mark.parametrize("make", [VSSBlock, XSSBlock])
@pytest.mark.parametrize("local_spatial", [True, False])
def test_every_parameter_of_a_block_gets_a_finite_gradient(make, local_spatial):
    block = make(6, 8, local_spatial=local_spatial)
    block(torch.randn(2, 6, 5, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
