"""The selective scan: every implementation against the loop in float64."""

import pytest
import torch
from torch import Tensor

from trainer.nn.selective_scan import _segmented, selective_scan, selective_scan_reference

NAMES = ("u", "delta", "A", "B", "C", "D", "delta_bias")


def inputs(batch=2, groups=4, channels=3, states=4, length=10, dtype=torch.float32, seed=0) -> list[Tensor]:
    """Random inputs as Mamba-YOLO's initialisation makes them, but with various A: (u, delta, ..., delta_bias)."""
    g = torch.Generator().manual_seed(seed)
    rows = groups * channels
    u, delta = (torch.randn(batch, rows, length, generator=g) for _ in range(2))
    A = -torch.exp(torch.randn(rows, states, generator=g))
    B, C = (torch.randn(batch, groups, states, length, generator=g) for _ in range(2))
    D, bias = (torch.randn(rows, generator=g) for _ in range(2))
    return [x.to(dtype).requires_grad_() for x in (u, delta, A, B, C, D, bias)]


def output_and_gradients(scan, tensors, weight) -> list[Tensor]:
    y = scan(*tensors)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), tensors, materialize_grads=True)]


def assert_matches_reference(scan, tensors, tolerance):
    weight = torch.randn(tensors[0].shape, generator=torch.Generator().manual_seed(1))
    exact = [x.detach().double().requires_grad_() for x in tensors]
    got = output_and_gradients(scan, tensors, weight)
    expected = output_and_gradients(selective_scan_reference, exact, weight.double())
    for name, value, reference in zip(("y", *NAMES), got, expected, strict=True):
        error = (value.double() - reference).abs().max() / reference.abs().max().clamp_min(1e-30)
        assert error <= tolerance, f"{name}: relative error {error:.1e}"


def test_one_token_is_the_formula_worked_out_by_hand():
    one = torch.ones(1, 1, 1)
    # softplus(log(e - 1)) = 1, so dt = 1: h = u * B = 2 * 3, y = C * h + D * u = 5 * 6 + 7 * 2.
    delta = torch.log(torch.expm1(one))
    y = selective_scan(2 * one, delta, -one[0], 3 * one[None], 5 * one[None], torch.tensor([7.0]))
    assert y.item() == pytest.approx(44)


def test_states_decay_by_exp_of_step_times_rate():
    u = torch.tensor([[[1.0, 0.0, 0.0]]])
    delta = torch.log(torch.expm1(torch.ones(1, 1, 3)))
    ones = torch.ones(1, 1, 1, 3)
    y = selective_scan(u, delta, torch.tensor([[-2.0]]), ones, ones)
    assert torch.allclose(y.flatten(), torch.exp(torch.tensor([0.0, -2.0, -4.0])))


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 400, 1600, 2049])
def test_output_and_all_gradients_match_the_reference_at_any_length(length):
    assert_matches_reference(selective_scan, inputs(length=length), 5e-6)


@pytest.mark.parametrize(("groups", "channels", "states"), [(1, 1, 1), (1, 5, 16), (4, 2, 8), (4, 1, 16)])
def test_groups_channels_and_states_may_be_any_number(groups, channels, states):
    tensors = inputs(groups=groups, channels=channels, states=states, length=35)
    assert_matches_reference(selective_scan, tensors, 5e-6)


@pytest.mark.parametrize("seed", range(3))
def test_cutting_into_blocks_segments_and_lanes_changes_nothing(monkeypatch, seed):
    monkeypatch.setattr(_segmented, "_STATE_NUMEL_CPU", 2 * 4 * 3 * 4)  # two samples a block
    monkeypatch.setattr(_segmented, "_SEGMENT_NUMEL_CPU", 24 * 2 * 4 * 3 * 4)  # 24 tokens a segment
    monkeypatch.setattr(_segmented, "_SMALL_STATE_NUMEL", 8 * 2 * 4 * 3 * 4)  # four lanes of 6 tokens
    assert_matches_reference(selective_scan, inputs(batch=5, length=65, seed=seed), 5e-6)


def test_skip_and_bias_may_be_left_out():
    tensors = inputs(length=20)
    zeros = [torch.zeros_like(x) for x in tensors[5:]]
    assert torch.equal(selective_scan(*tensors[:5]), selective_scan(*tensors[:5], *zeros))


def test_inputs_need_not_be_contiguous():
    tensors = inputs(length=20)
    strided = [x.transpose(0, -1).contiguous().transpose(0, -1) for x in tensors]
    assert torch.equal(selective_scan(*tensors), selective_scan(*strided))


def test_gradients_match_finite_differences():
    tensors = inputs(batch=2, groups=2, channels=2, states=2, length=5, dtype=torch.float64)
    assert torch.autograd.gradcheck(selective_scan, tensors)


def test_backward_twice_gives_the_same_gradients():
    tensors = inputs(length=70)
    y = selective_scan(*tensors).sum()
    first = torch.autograd.grad(y, tensors, retain_graph=True)
    second = torch.autograd.grad(y, tensors)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_inputs_are_left_as_they_were():
    tensors = inputs(length=20)
    before = [x.detach().clone() for x in tensors]
    selective_scan(*tensors).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


@pytest.mark.parametrize("delta", [-1000.0, -100.0, 60.0, 100.0, 1000.0])
@pytest.mark.parametrize("rate", [-100.0, -1.0, -1e-6])
def test_extreme_steps_and_rates_stay_finite(delta, rate):
    tensors = inputs(length=130)
    with torch.no_grad():
        tensors[1].fill_(delta)
        tensors[2].fill_(rate)
    y = selective_scan(*tensors)
    gradients = torch.autograd.grad(y.sum(), tensors)
    assert all(x.isfinite().all() for x in (y, *gradients))


@pytest.mark.parametrize("name", ["u", "delta"])
def test_nan_spreads_along_its_own_channel_from_its_token_on(name):
    tensors = dict(zip(NAMES, inputs(length=70), strict=True))
    with torch.no_grad():
        tensors[name][1, 5, 30] = torch.nan
    expected = torch.zeros(2, 12, 70, dtype=torch.bool)
    expected[1, 5, 30:] = True
    assert torch.equal(selective_scan(**tensors).isnan(), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_computed_in_float32(dtype):
    tensors = inputs(length=100, dtype=dtype)
    y = selective_scan(*tensors)
    assert y.dtype == torch.float32
    assert torch.equal(y, selective_scan(*(x.float() for x in tensors)))
    assert all(x.dtype == dtype and x.isfinite().all() for x in torch.autograd.grad(y.sum(), tensors))


def test_float64_inputs_are_computed_in_float64():
    tensors = inputs(length=50, dtype=torch.float64)
    expected = selective_scan_reference(*tensors)
    assert selective_scan(*tensors).dtype == torch.float64
    assert torch.allclose(selective_scan(*tensors), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(dtype):
    tensors = inputs(length=50)
    expected = output_and_gradients(selective_scan, tensors, 1)
    with torch.autocast("cpu", dtype=dtype):
        got = output_and_gradients(selective_scan, tensors, 1)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("name", NAMES[1:])
def test_shapes_that_do_not_fit_are_named(name):
    tensors = dict(zip(NAMES, inputs(), strict=True))
    tensors[name] = tensors[name][..., :-1]
    with pytest.raises(ValueError, match="must"):
        selective_scan(**tensors)


def test_no_token_at_all_is_refused():
    tensors = inputs(length=1)
    for i in (0, 1, 3, 4):
        tensors[i] = tensors[i][..., :0]
    with pytest.raises(ValueError, match="at least one token"):
        selective_scan(*tensors)
